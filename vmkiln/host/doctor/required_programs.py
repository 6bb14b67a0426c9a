"""The programs that builds start, the package each comes in, and how each tells its version."""

from dataclasses import dataclass

from vmkiln.host.doctor.packer_version import VERSION_SECONDS


@dataclass(frozen=True)
class RequiredProgram:
    """A program a build needs: any one of `names`; `version` is asked with these arguments (none: it cannot say).

    It has `limit_seconds` for the answer.
    """

    names: tuple[str, ...]
    package: str
    purpose: str
    version: tuple[str, ...] | None = ("--version",)
    limit_seconds: float = 15.0


REQUIRED_PROGRAMS = (
    RequiredProgram(("qemu-system-x86_64",), "qemu-system-x86", "runs the virtual machines"),
    RequiredProgram(("qemu-img",), "qemu-utils", "makes and converts disk images"),
    RequiredProgram(("packer",), "packer", "customizes and validates", ("version",), VERSION_SECONDS),
    RequiredProgram(("pasta",), "passt", "gives a build its way out to the Internet"),
    RequiredProgram(("nft",), "nftables", "firewall between the virtual machines"),
    RequiredProgram(("ip",), "iproute2", "bridges and links of a build", ("-V",)),
    RequiredProgram(("newuidmap",), "uidmap", "user ids of a build's namespace", None),
    RequiredProgram(("newgidmap",), "uidmap", "group ids of a build's namespace", None),
    RequiredProgram(("mmdebstrap",), "mmdebstrap", "makes platform images from packages"),
    RequiredProgram(("xorrisofs", "genisoimage", "mkisofs"), "xorriso", "first configuration of a VM"),
    RequiredProgram(("sfdisk",), "fdisk", "partitions platform images"),
    RequiredProgram(("mke2fs",), "e2fsprogs", "file systems of platform images", ("-V",)),
    RequiredProgram(("mkfs.fat",), "dosfstools", "boot partitions of platform images", None),
    RequiredProgram(("mcopy",), "mtools", "fills boot partitions without root"),
    RequiredProgram(("busybox",), "busybox-static", "the system inside the container's VM", ()),
    RequiredProgram(("perl",), "perl-base", "Packer's way to the VM, inside the container's VM"),
    RequiredProgram(("zstd",), "zstd", "unpacks kernel modules and images"),
    RequiredProgram(("gpgv",), "gpgv", "checks signatures of platform images"),
    RequiredProgram(("dpkg-deb",), "dpkg", "unpacks the container's kernel"),
    RequiredProgram(("depmod",), "kmod", "indexes the modules of the container's kernel"),
)
