"""A bootable disk written without root: partition table, boot loader and file systems put together as bytes.

Generation 1 boots by BIOS: GRUB's first sector in the protective MBR, its core in a BIOS boot partition.
Generation 2 boots by UEFI: shim as `EFI/BOOT/BOOTX64.EFI` (`BOOTAA64.EFI` for Arm64) in an EFI system partition loads
GRUB beside it.
Sources: UEFI specification 5.3 (GPT); GRUB manual, "BIOS installation"; grub-core/boot/i386/pc/{boot,diskboot}.S for
the two places grub-setup patches.
"""

import asyncio
import struct
from dataclasses import dataclass
from pathlib import Path

from vmkiln.azure_names import Architecture
from vmkiln.errors import VmkilnError
from vmkiln.files.sparse_file import copy_into
from vmkiln.host import confined_program
from vmkiln.host.confined_program import Reach
from vmkiln.waiting.off_loop import off_loop

SECTOR = 512
FIRST_SECTOR = 2048
BIOS_BOOT_SECTORS = 2048
ESP_SECTORS = 131072
ALIGNMENT = 2048
BIOS_BOOT_TYPE = "21686148-6449-6E6F-744E-656564454649"
ESP_TYPE = "C12A7328-F81F-11D2-BA4B-00C04FC93EC9"
# systemd finds the root of its own architecture by these (Discoverable Partitions Specification)
LINUX_ROOT_TYPES = {
    Architecture.X64: "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709",
    Architecture.ARM64: "B921B045-1DF0-41C3-AF44-4C6F280D3FAE",
}
BOOT_CODE_BYTES = 440
KERNEL_SECTOR_AT = 0x5C
BLOCKLIST_AT = SECTOR - 12
TRAILING_SECTORS = 2048


@dataclass(frozen=True)
class Layout:
    """Where the two partitions lie, in sectors of 512 bytes; the root partition is the second and last."""

    generation: int
    first_start: int
    first_sectors: int
    root_start: int
    root_sectors: int
    total_sectors: int


def layout(generation: int, *, size_bytes: int) -> Layout:
    """The layout of a disk of this size."""
    first = BIOS_BOOT_SECTORS if generation == 1 else ESP_SECTORS
    root_start = FIRST_SECTOR + first
    total = size_bytes // SECTOR
    root = (total - TRAILING_SECTORS - root_start) // ALIGNMENT * ALIGNMENT
    return Layout(generation, FIRST_SECTOR, first, root_start, root, total)


def partition_script(plan: Layout, architecture: Architecture = Architecture.X64) -> str:
    """The partition table in the language of sfdisk(8)."""
    first_type = BIOS_BOOT_TYPE if plan.generation == 1 else ESP_TYPE
    return (
        "label: gpt\n"
        f"start={plan.first_start}, size={plan.first_sectors}, type={first_type}\n"
        f"start={plan.root_start}, size={plan.root_sectors}, type={LINUX_ROOT_TYPES[architecture]}\n"
    )


def patched_boot_code(boot_image: bytes, *, core_start: int) -> bytes:
    """GRUB's first sector, told at which sector its core begins: the 440 bytes before the disk's signature."""
    if len(boot_image) != SECTOR:
        raise VmkilnError(f"GRUB's boot.img has {len(boot_image)} bytes, not {SECTOR}")
    code = bytearray(boot_image)
    struct.pack_into("<Q", code, KERNEL_SECTOR_AT, core_start)
    return bytes(code[:BOOT_CODE_BYTES])


def patched_core(core_image: bytes, *, core_start: int) -> bytes:
    """GRUB's core, whose first sector is told where the rest lies: right behind it."""
    core = bytearray(core_image)
    struct.pack_into("<Q", core, BLOCKLIST_AT, core_start + 1)
    struct.pack_into("<H", core, BLOCKLIST_AT + 8, -(-len(core) // SECTOR) - 1)
    return bytes(core)


async def assemble(
    disk: Path,
    plan: Layout,
    *,
    root: Path,
    boot: Path,
    esp_id: str,
    architecture: Architecture = Architecture.X64,
) -> None:
    """Write the raw disk: `root` is the root file system's image; `boot` holds boot.img and core.img, or a folder esp.

    The EFI system partition gets the serial number `esp_id` (`01AB-23CD`).

    Raises: `VmkilnError` when a part does not fit its partition.
    """
    await off_loop(_make_room, disk, plan.total_sectors * SECTOR)
    script = partition_script(plan, architecture).encode()
    reach = Reach(writes=(disk,), file_bytes=plan.total_sectors * SECTOR)
    await confined_program.run(["sfdisk", "--quiet", disk.absolute()], reach, stdin=script, timeout_seconds=60)
    await asyncio.to_thread(_copy_into, disk, root, offset=plan.root_start * SECTOR, limit=plan.root_sectors * SECTOR)
    if plan.generation == 1:
        await off_loop(_write_grub, disk, boot, plan)
    else:
        system_partition = boot / "esp.img"
        await _make_esp(system_partition, boot / "esp", size_bytes=plan.first_sectors * SECTOR, esp_id=esp_id)
        first, most = plan.first_start * SECTOR, plan.first_sectors * SECTOR
        await asyncio.to_thread(_copy_into, disk, system_partition, offset=first, limit=most)


def _make_room(file: Path, size_bytes: int) -> None:
    with file.open("wb") as opened:
        opened.truncate(size_bytes)


def _write_grub(disk: Path, boot: Path, plan: Layout) -> None:
    core = patched_core((boot / "core.img").read_bytes(), core_start=plan.first_start)
    if len(core) > plan.first_sectors * SECTOR:
        raise VmkilnError("GRUB's core is larger than its partition")
    with disk.open("r+b") as file:
        file.write(patched_boot_code((boot / "boot.img").read_bytes(), core_start=plan.first_start))
        file.seek(plan.first_start * SECTOR)
        file.write(core)


async def _make_esp(image: Path, folder: Path, *, size_bytes: int, esp_id: str) -> None:
    await off_loop(_make_room, image, size_bytes)
    serial = esp_id.replace("-", "")
    image, folder = image.absolute(), folder.absolute()
    reach = Reach((folder,), (image,), file_bytes=size_bytes)
    arguments: list[str | Path] = ["mkfs.vfat", "-F", "32", "-n", "ESP", "-i", serial, image]
    await confined_program.run(arguments, reach, timeout_seconds=60)
    files = await off_loop(lambda: sorted(folder.iterdir()))
    await confined_program.run(["mcopy", "-s", "-i", image, *files, "::/"], reach, timeout_seconds=60)


def _copy_into(disk: Path, part: Path, *, offset: int, limit: int) -> None:
    """Copy a file into the disk, skipping its holes."""
    size = part.stat().st_size
    if size > limit:
        raise VmkilnError(f"{part.name} has {size} bytes and its partition {limit}")
    with part.open("rb") as source, disk.open("r+b") as target:
        copy_into(source, target, offset=offset)
