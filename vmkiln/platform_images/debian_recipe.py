"""Debian images made on this machine from Debian's packages, without root.

mmdebstrap fetches the packages first, and then, without a network, makes the root file system of them; mke2fs turns it
into a file system image, all of it in a jail (`host/making/making_jail.py`). `boot_disk.py` puts the boot loader and
the partitions around what comes out of it, which are plain files or nothing (`plain_files.py`).

*Leaves behind:* one qcow2 file, and its kernel beside it. *Undone by:* deleting them.
*Safe to repeat:* yes; each time with the newest packages.
"""

import functools
import hashlib
import os
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib import resources
from pathlib import Path

from vmkiln.azure_names import Architecture
from vmkiln.errors import VmkilnError
from vmkiln.host import foreign_cpu
from vmkiln.host.disk.disk_image import convert
from vmkiln.host.doctor.image_kernel import KERNEL
from vmkiln.host.environment import proxied
from vmkiln.host.making import jailed_maker, name_servers
from vmkiln.host.qemu import Disk
from vmkiln.platform_images import making_folder, plain_files
from vmkiln.platform_images.boot_disk import SECTOR, assemble, layout
from vmkiln.waiting.off_loop import off_loop

BOOTSTRAP_SECONDS = 3600
EMULATED_BOOTSTRAP_SECONDS = 3 * 3600
DISK_SECONDS = 1800
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
# apt finds what was fetched where it would have put it
USE_FETCHED = """set -eu
rm -rf "$1/var/lib/apt/lists"
mv "$VMKILN_FETCHED/lists" "$1/var/lib/apt/lists"
mkdir -p "$1/var/cache/apt/archives"
find "$VMKILN_FETCHED/archives" -name '*.deb' -exec mv -t "$1/var/cache/apt/archives" {} +
"""
WRITE_DISK = f"""set -eu
mv "$VMKILN_ROOT/.beside" boot
install -m 0644 "$(find "$VMKILN_ROOT/boot" -name 'vmlinuz-*' | sort | tail -n 1)" boot/{KERNEL}
truncate -s "$VMKILN_ROOT_BYTES" root.ext4
mke2fs -q -F -t ext4 -m 1 -U "$VMKILN_ROOT_UUID" -L root -E lazy_itable_init=1 -d "$VMKILN_ROOT" root.ext4
rm -rf "$VMKILN_ROOT"
"""
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


def packages_of(recipe: DebianRecipe) -> list[str]:
    """What is installed beside what every system has; pure."""
    debian = recipe.debian_architecture
    boot: tuple[str, ...] = (f"grub-efi-{debian}-bin", f"grub-efi-{debian}-signed", "shim-signed")
    if recipe.generation == 1:
        boot = ("grub-pc-bin",)
    return sorted({*PACKAGES, f"linux-image-cloud-{debian}", *boot, *recipe.extra_packages})


def fetch_arguments(recipe: DebianRecipe, *, script: str, root: Path) -> list[str]:
    """mmdebstrap's arguments to fetch what the system is made of, and to unpack nothing; pure.

    Without mirrors of ours it takes its own defaults for the suite. The script is handed over as text, for the folder
    of ours that it is in may not be seen.
    """
    return [
        "mmdebstrap",
        *_of_every_call(recipe),
        "--variant=custom",
        "--skip=update,cleanup",
        f"--setup-hook={script}",
        recipe.suite,
        str(root),
        *recipe.mirrors,
    ]


def bootstrap_arguments(recipe: DebianRecipe, *, script: str, root: Path) -> list[str]:
    """mmdebstrap's arguments to make a root file system of what was fetched; pure."""
    return [
        "mmdebstrap",
        *_of_every_call(recipe),
        "--variant=minbase",
        "--skip=update",
        f"--include={','.join(packages_of(recipe))}",
        "--dpkgopt=force-confold",
        f"--setup-hook={USE_FETCHED}",
        f"--customize-hook={script}",
        recipe.suite,
        str(root),
        *recipe.mirrors,
    ]


def _of_every_call(recipe: DebianRecipe) -> list[str]:
    foreign = recipe.architecture is not Architecture.X64
    emulated = ["--skip=check/qemu", f"--architectures={recipe.debian_architecture}"] if foreign else []
    return ["--mode=root", "--format=directory", *emulated]  # root of the jail


def recipe_digest(recipe: DebianRecipe) -> str:
    """What the image is made by, as a SHA-256: a newer recipe makes a newer image; reads the packaged script."""
    kernel = f"linux-image-cloud-{recipe.debian_architecture}"
    packages = sorted([*PACKAGES, kernel])
    values = [*packages, recipe.suite, str(recipe.generation), *recipe.extra_packages, *recipe.mirrors]
    return hashlib.sha256(
        _script("debian_customize.sh").encode() + "\0".join([*values, str(SIZE_BYTES)]).encode()
    ).hexdigest()


def _script(name: str) -> str:
    return resources.files("vmkiln.platform_images").joinpath(name).read_text()


def environment_for(recipe: DebianRecipe, *, root_uuid: uuid.UUID, folder: Path, path: str) -> dict[str, str]:
    """What all scripts are told, those of packages too: nothing of ours but where programs are; pure."""
    # the initial file system takes minutes to make where programs are emulated: once is enough, by the script
    initramfs = {} if recipe.architecture is Architecture.X64 else {"INITRD": "No"}
    return {
        **initramfs,
        "PATH": path,
        "HOME": "/nonexistent",
        "TMPDIR": str(folder),
        "LC_ALL": "C.UTF-8",
        "VMKILN_GENERATION": str(recipe.generation),
        "VMKILN_ARCHITECTURE": recipe.debian_architecture,
        "VMKILN_SUITE": recipe.suite,
        "VMKILN_PACKAGES": " ".join(packages_of(recipe)),
        "VMKILN_FETCHED": str(folder / "fetched"),
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
    try:
        return max(parsedate_to_datetime(value) for value in values).astimezone(UTC)
    except (ValueError, TypeError, OverflowError) as error:
        raise VmkilnError("the package archive's release files have a date that is none") from error


async def make_image(recipe: DebianRecipe, target: Path, *, progress: Callable[[str], None]) -> datetime:
    """Make the image and write it to `target` (qcow2), with its kernel as `vmlinuz` beside it.

    Returns the date of the package archive it was made from.

    Raises: `CommandFailed` with what the failing tool said. Cancelling ends every tool and leaves nothing.
    """
    # the jail works as subordinate ids in a folder of its own, which everyone on the way to it must let pass
    async with making_folder.opened(target.parent) as workplace:
        root_uuid = uuid.uuid4()
        async with making_folder.opened(making_folder.shared_parent(os.environ), mode=0o711) as scratch:
            folder = await jailed_maker.made_folder(scratch)
            await _make_system(recipe, folder, root_uuid=root_uuid, progress=progress)
            await off_loop(plain_files.taken, folder / "boot", workplace / "boot")
            root = await off_loop(plain_files.checked, folder / "root.ext4")
            return await _assembled(recipe, target, workplace, root, root_uuid=root_uuid, progress=progress)


async def _make_system(
    recipe: DebianRecipe, folder: Path, *, root_uuid: uuid.UUID, progress: Callable[[str], None]
) -> None:
    """Fetch, unpack, and write the file system's image and what belongs beside it, into the jail's folder."""
    is_emulated = recipe.architecture is not Architecture.X64
    environment = environment_for(recipe, root_uuid=root_uuid, folder=folder, path=os.environ.get("PATH", PATH))
    root = folder / "root"

    def report(chunk: bytes) -> None:
        for line in chunk.decode(errors="replace").splitlines():
            if line.startswith("I: "):
                progress(f"mmdebstrap: {line[3:]}")

    held = functools.partial(
        jailed_maker.run, folder=folder, file_bytes=SIZE_BYTES, reads=jailed_maker.folders_of(recipe.mirrors)
    )
    progress(f"making Debian {recipe.suite} (generation {recipe.generation}, {recipe.architecture}) from packages")
    fetching = proxied(os.environ)
    way = jailed_maker.way_to(recipe.mirrors, fetching)
    if not await off_loop(name_servers.take_tcp):
        progress("no name server of this machine takes TCP: names are asked for over UDP, which nothing bounds")
        way = replace(way, has_datagrams=True)
    await held(
        fetch_arguments(recipe, script=_script("debian_fetch.sh"), root=folder / "fetching"),
        timeout_seconds=BOOTSTRAP_SECONDS,
        environment={**environment, **fetching},
        way=way,
        on_stderr=report,
    )
    arguments = bootstrap_arguments(recipe, script=_script("debian_customize.sh"), root=root)
    if is_emulated:
        arguments = foreign_cpu.emulated(arguments, recipe.architecture)
        progress(f"its programs are emulated, so this takes ten times as long ({recipe.architecture} on this host)")
    await held(
        arguments,
        timeout_seconds=EMULATED_BOOTSTRAP_SECONDS if is_emulated else BOOTSTRAP_SECONDS,
        environment=environment,
        is_emulated=is_emulated,
        on_stderr=report,
    )
    progress("writing the root file system")
    sectors = layout(recipe.generation, size_bytes=SIZE_BYTES).root_sectors
    size = {"VMKILN_ROOT_BYTES": str(sectors * SECTOR), "VMKILN_ROOT": str(root)}
    await held(["sh", "-c", WRITE_DISK], timeout_seconds=DISK_SECONDS, environment={**environment, **size})


async def _assembled(
    recipe: DebianRecipe,
    target: Path,
    workplace: Path,
    root: Path,
    *,
    root_uuid: uuid.UUID,
    progress: Callable[[str], None],
) -> datetime:
    plan = layout(recipe.generation, size_bytes=SIZE_BYTES)
    disk = workplace / "disk.raw"
    progress("putting the disk together")
    boot = workplace / "boot"
    await assemble(disk, plan, root=root, boot=boot, esp_id=esp_id(root_uuid), architecture=recipe.architecture)
    finished = workplace / "disk.qcow2"
    await convert(Disk(disk, "raw"), finished, target_format="qcow2")
    await off_loop((workplace / "boot" / KERNEL).rename, target.with_name(KERNEL))
    await off_loop(finished.rename, target)
    return newest_date(await off_loop(lambda: (workplace / "boot" / "dates").read_text(errors="replace")))
