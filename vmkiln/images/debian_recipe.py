"""Debian images made on this machine from Debian's packages, without root.

mmdebstrap makes the root file system inside a user namespace, mke2fs turns it into a file system image, and
`boot_disk.py` puts the boot loader and the partitions around it.

*Leaves behind:* one qcow2 file. *Undone by:* deleting it. *Safe to repeat:* yes; each time with the newest packages.
"""

import asyncio
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from vmkiln.host import command, namespace
from vmkiln.host.disk_image import convert
from vmkiln.host.qemu import Disk
from vmkiln.images.boot_disk import SECTOR, assemble, layout

BOOTSTRAP_SECONDS = 3600
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
    "linux-image-cloud-amd64",
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
    """What to make: Debian's code name (`bookworm`), the Hyper-V generation, and packages beyond the usual ones."""

    suite: str
    generation: int
    extra_packages: tuple[str, ...] = ()


def bootstrap_arguments(recipe: DebianRecipe, *, hook: Path, tar: Path) -> list[str]:
    """mmdebstrap's arguments; it takes the mirrors from its own defaults for the suite; pure."""
    boot = "grub-pc-bin" if recipe.generation == 1 else "grub-efi-amd64-bin"
    packages = sorted({*PACKAGES, boot, *recipe.extra_packages})
    return [
        "mmdebstrap",
        "--mode=unshare",
        "--variant=minbase",
        f"--include={','.join(packages)}",
        "--dpkgopt=force-confold",
        f'--customize-hook={hook} "$1"',
        recipe.suite,
        str(tar),
    ]


def environment_for(recipe: DebianRecipe, *, root_uuid: uuid.UUID, inherited: Mapping[str, str]) -> dict[str, str]:
    """The hook's environment: nothing of ours but PATH and proxy settings reaches the new system; pure."""
    kept = {name: value for name, value in inherited.items() if name.lower().endswith("_proxy")}
    path = inherited.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
    return {
        **kept,
        "PATH": path,
        "HOME": "/nonexistent",
        "LC_ALL": "C.UTF-8",
        "VMKILN_GENERATION": str(recipe.generation),
        "VMKILN_ROOT_UUID": str(root_uuid),
    }


async def make_image(recipe: DebianRecipe, target: Path, *, progress: Callable[[str], None]) -> None:
    """Make the image and write it to `target` (qcow2).

    Raises: `CommandFailed` with what the failing tool said. Cancelling ends every tool and leaves nothing.
    """
    workplace = Path(tempfile.mkdtemp(prefix=".making-", dir=target.parent))
    try:
        # mmdebstrap works as a subordinate id, which must be able to pass through here
        workplace.chmod(0o711)
        await _make(recipe, target, workplace, progress)
    finally:
        await asyncio.to_thread(shutil.rmtree, workplace, ignore_errors=True)


async def _make(recipe: DebianRecipe, target: Path, workplace: Path, progress: Callable[[str], None]) -> None:
    root_uuid = uuid.uuid4()
    hook = workplace / "customize.sh"
    hook.write_bytes(resources.files("vmkiln.images").joinpath("debian_customize.sh").read_bytes())
    hook.chmod(0o755)
    tar = workplace / "root.tar"
    progress(f"making Debian {recipe.suite} (generation {recipe.generation}) from packages")

    def report(chunk: bytes) -> None:
        for line in chunk.decode(errors="replace").splitlines():
            if line.startswith("I: "):
                progress(f"mmdebstrap: {line[3:]}")

    await command.run(
        bootstrap_arguments(recipe, hook=hook, tar=tar),
        timeout_seconds=BOOTSTRAP_SECONDS,
        environment=environment_for(recipe, root_uuid=root_uuid, inherited=os.environ),
        directory=workplace,
        on_stderr=report,
    )
    plan = layout(recipe.generation, size_bytes=SIZE_BYTES)
    root = workplace / "root.ext4"
    progress("writing the root file system")
    await _root_file_system(workplace, tar, root, root_uuid=root_uuid, size_bytes=plan.root_sectors * SECTOR)
    tar.unlink()
    disk = workplace / "disk.raw"
    progress("putting the disk together")
    await assemble(disk, plan, root=root, boot=workplace / "boot")
    root.unlink()
    finished = workplace / "disk.qcow2"
    await convert(Disk(disk, "raw"), finished, target_format="qcow2")
    finished.rename(target)


async def _root_file_system(workplace: Path, tar: Path, image: Path, *, root_uuid: uuid.UUID, size_bytes: int) -> None:
    """ext4 with the right owners: unpacked and read inside a namespace with a whole range of ids."""
    folder = workplace / "root"
    folder.mkdir()
    boot = workplace / "boot"
    boot.mkdir()
    with image.open("wb") as file:
        file.truncate(size_bytes)
    options = ["-q", "-F", "-t", "ext4", "-m", "1", "-U", str(root_uuid), "-L", "root", "-E", "lazy_itable_init=1"]
    async with namespace.opened() as inside:
        unpack = ["tar", "--extract", "--numeric-owner", "--xattrs", "--xattrs-include=*", "--exclude=./dev/*"]
        await inside.run([*unpack, "--file", tar, "--directory", folder], timeout_seconds=600)
        for name in ("i386-pc/boot.img", "core.img", "BOOTX64.EFI"):
            source = folder / "boot/grub" / name
            await inside.run(["sh", "-c", 'if [ -e "$1" ]; then cp "$1" "$2"; fi', "copy", source, boot])
        await inside.run(["mke2fs", *options, "-d", folder, image], timeout_seconds=900)
        await inside.run(["rm", "-rf", folder], timeout_seconds=300)
