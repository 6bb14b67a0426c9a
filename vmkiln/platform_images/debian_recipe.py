"""Debian images made on this machine from Debian's packages, without root.

mmdebstrap makes the root file system inside a user namespace, mke2fs turns it into a file system image, and
`boot_disk.py` puts the boot loader and the partitions around it.

*Leaves behind:* one qcow2 file, and its kernel beside it. *Undone by:* deleting them.
*Safe to repeat:* yes; each time with the newest packages.
"""

import hashlib
import os
import resource
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib import resources
from pathlib import Path

from vmkiln.azure_names import Architecture
from vmkiln.errors import VmkilnError
from vmkiln.host import command, foreign_cpu, namespace
from vmkiln.host.disk.disk_image import convert
from vmkiln.host.doctor.image_kernel import KERNEL
from vmkiln.host.environment import proxied
from vmkiln.host.making import work_group
from vmkiln.host.qemu import Disk
from vmkiln.platform_images import making_folder
from vmkiln.platform_images.boot_disk import SECTOR, assemble, layout
from vmkiln.waiting.off_loop import off_loop

BOOTSTRAP_SECONDS = 3600
EMULATED_BOOTSTRAP_SECONDS = 3 * 3600
DEBIAN_ARCHITECTURES = {Architecture.X64: "amd64", Architecture.ARM64: "arm64"}
SIZE_BYTES = 3 * 1024**3
PACKAGES = (
    "ca-certificates",
    "cloud-guest-utils",
    "cloud-init",
    "dbus",
    "e2fsprogs",
    "fdisk",
    "grub2-common",
    "iproute2",
    "netplan.io",
    "openssh-server",
    "sudo",
    "systemd-resolved",
    "systemd-sysv",
    "udev",
    "zstd",
)


@dataclass(frozen=True)
class DebianRecipe:
    """What to make: Debian's code name (`bookworm`), the Hyper-V generation, packages beyond the usual ones.

    `mirrors` are lines or addresses for mmdebstrap(1); none means its own defaults.
    """

    suite: str
    generation: int
    extra_packages: tuple[str, ...] = ()
    mirrors: tuple[str, ...] = ()
    architecture: Architecture = Architecture.X64

    @property
    def debian_architecture(self) -> str:
        """Debian's own word for it."""
        return DEBIAN_ARCHITECTURES[self.architecture]


def bootstrap_arguments(recipe: DebianRecipe, *, script: str, tar: Path) -> list[str]:
    """mmdebstrap's arguments; without mirrors of ours it takes its own defaults for the suite; pure.

    The script that makes a machine of the system is handed over as text: mmdebstrap runs it as a subordinate id, which
    may not be able to pass through the user's own folders.
    """
    debian = recipe.debian_architecture
    boot: tuple[str, ...] = (f"grub-efi-{debian}-bin", f"grub-efi-{debian}-signed", "shim-signed")
    if recipe.generation == 1:
        boot = ("grub-pc-bin",)
    packages = sorted({*PACKAGES, f"linux-image-cloud-{debian}", *boot, *recipe.extra_packages})
    mode = ["--mode=unshare"]
    if recipe.architecture is not Architecture.X64:  # it runs inside the namespace that emulates the other CPU
        mode = ["--mode=root", "--skip=check/qemu", f"--architectures={debian}"]
    return [
        "mmdebstrap",
        *mode,
        "--variant=minbase",
        f"--include={','.join(packages)}",
        "--dpkgopt=force-confold",
        f"--customize-hook={script}",
        recipe.suite,
        str(tar),
        *recipe.mirrors,
    ]


def recipe_digest(recipe: DebianRecipe) -> str:
    """What the image is made by, as a SHA-256: a newer recipe makes a newer image; reads the packaged script."""
    kernel = f"linux-image-cloud-{recipe.debian_architecture}"
    packages = sorted([*PACKAGES, kernel])
    values = [*packages, recipe.suite, str(recipe.generation), *recipe.extra_packages, *recipe.mirrors]
    return hashlib.sha256(_customize_script() + "\0".join([*values, str(SIZE_BYTES)]).encode()).hexdigest()


def _customize_script() -> bytes:
    return resources.files("vmkiln.platform_images").joinpath("debian_customize.sh").read_bytes()


def environment_for(recipe: DebianRecipe, *, root_uuid: uuid.UUID, inherited: Mapping[str, str]) -> dict[str, str]:
    """The hook's environment: nothing of ours but PATH and what fetching takes reaches the new system; pure."""
    path = inherited.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
    # the initial file system takes minutes to make where programs are emulated: once is enough, by the script
    initramfs = {} if recipe.architecture is Architecture.X64 else {"INITRD": "No"}
    return {
        **proxied(inherited),
        **initramfs,
        "PATH": path,
        "HOME": "/nonexistent",
        "LC_ALL": "C.UTF-8",
        "VMKILN_GENERATION": str(recipe.generation),
        "VMKILN_ARCHITECTURE": recipe.debian_architecture,
        "VMKILN_ROOT_UUID": str(root_uuid),
        "VMKILN_ESP_ID": esp_id(root_uuid),
    }


def esp_id(root_uuid: uuid.UUID) -> str:
    """The EFI system partition's serial number, as blkid(8) shows it; pure."""
    digits = root_uuid.hex[:8].upper()
    return f"{digits[:4]}-{digits[4:]}"


def newest_date(text: str) -> datetime:
    """The newest of an archive's `Date:` lines (UTC); pure. Raises: `VmkilnError` when there is none."""
    values = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("Date:")]
    if not values:
        raise VmkilnError("the package archive's release files have no date")
    return max(parsedate_to_datetime(value) for value in values).astimezone(UTC)


async def make_image(recipe: DebianRecipe, target: Path, *, progress: Callable[[str], None]) -> datetime:
    """Make the image and write it to `target` (qcow2), with its kernel as `vmlinuz` beside it.

    Returns the date of the package archive it was made from.

    Raises: `CommandFailed` with what the failing tool said. Cancelling ends every tool and leaves nothing.
    """
    # mmdebstrap works as a subordinate id in a folder of its own, which everyone on the way to it must let pass
    async with making_folder.opened(target.parent) as workplace:
        tar = workplace / "root.tar"
        root_uuid = uuid.uuid4()
        async with making_folder.opened(making_folder.shared_parent(os.environ), mode=0o711) as scratch:
            await _bootstrap(recipe, tar, scratch, root_uuid=root_uuid, progress=progress)
        return await _assembled(recipe, target, workplace, root_uuid=root_uuid, progress=progress)


def _limited() -> None:
    """In mmdebstrap's process, and all that it starts: no core files, and no file larger than the disk is."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (SIZE_BYTES, SIZE_BYTES))


async def _bootstrap(
    recipe: DebianRecipe, tar: Path, scratch: Path, *, root_uuid: uuid.UUID, progress: Callable[[str], None]
) -> None:
    progress(f"making Debian {recipe.suite} (generation {recipe.generation}, {recipe.architecture}) from packages")
    arguments = bootstrap_arguments(recipe, script=_customize_script().decode(), tar=tar)
    if recipe.architecture is not Architecture.X64:
        arguments = foreign_cpu.emulated(arguments, recipe.architecture)
        progress(f"its programs are emulated, so this takes ten times as long ({recipe.architecture} on this host)")

    def report(chunk: bytes) -> None:
        for line in chunk.decode(errors="replace").splitlines():
            if line.startswith("I: "):
                progress(f"mmdebstrap: {line[3:]}")

    environment = environment_for(recipe, root_uuid=root_uuid, inherited=os.environ)
    await command.run(
        arguments,
        timeout_seconds=BOOTSTRAP_SECONDS if recipe.architecture is Architecture.X64 else EMULATED_BOOTSTRAP_SECONDS,
        environment={**environment, "TMPDIR": str(scratch)},
        directory=scratch,
        before_exec=work_group.joining(_limited),
        on_stderr=report,
    )


async def _assembled(
    recipe: DebianRecipe, target: Path, workplace: Path, *, root_uuid: uuid.UUID, progress: Callable[[str], None]
) -> datetime:
    plan = layout(recipe.generation, size_bytes=SIZE_BYTES)
    root = workplace / "root.ext4"
    progress("writing the root file system")
    await _root_file_system(workplace, root, root_uuid=root_uuid, size_bytes=plan.root_sectors * SECTOR)
    disk = workplace / "disk.raw"
    progress("putting the disk together")
    boot = workplace / "boot"
    await assemble(disk, plan, root=root, boot=boot, esp_id=esp_id(root_uuid), architecture=recipe.architecture)
    await off_loop(root.unlink)
    finished = workplace / "disk.qcow2"
    await convert(Disk(disk, "raw"), finished, target_format="qcow2")
    await off_loop((workplace / "boot" / KERNEL).rename, target.with_name(KERNEL))
    await off_loop(finished.rename, target)
    return newest_date(await off_loop((workplace / "boot" / "dates").read_text))


def _make_room(image: Path, size_bytes: int) -> None:
    with image.open("wb") as file:
        file.truncate(size_bytes)


async def _root_file_system(workplace: Path, image: Path, *, root_uuid: uuid.UUID, size_bytes: int) -> None:
    """ext4 with the right owners: unpacked and read inside a namespace with a whole range of ids.

    Takes `root.tar` in the workplace away, and puts what belongs beside the root file system into `boot`.
    """
    tar = workplace / "root.tar"
    folder = workplace / "root"
    await off_loop(folder.mkdir)
    await off_loop(_make_room, image, size_bytes)
    options = ["-q", "-F", "-t", "ext4", "-m", "1", "-U", str(root_uuid), "-L", "root", "-E", "lazy_itable_init=1"]
    async with namespace.opened() as inside:
        unpack = ["tar", "--extract", "--numeric-owner", "--xattrs", "--xattrs-include=*", "--exclude=./dev/*"]
        await inside.run([*unpack, "--file", tar, "--directory", folder], timeout_seconds=600)
        await off_loop(tar.unlink)
        await inside.run(["mv", folder / ".beside", workplace / "boot"], timeout_seconds=60)
        kernel = await off_loop(lambda: max((folder / "boot").glob("vmlinuz-*")))  # the recipe installs one
        await inside.run(["install", "-m", "0644", kernel, workplace / "boot" / KERNEL], timeout_seconds=60)
        await inside.run(["mke2fs", *options, "-d", folder, image], timeout_seconds=900)
        await inside.run(["rm", "-rf", folder], timeout_seconds=300)
