"""The bootable disk: where its parts lie, and the bytes GRUB's sectors get."""

import struct
from pathlib import Path

import pytest

from vmkiln.errors import VmkilnError
from vmkiln.platform_images.boot_disk import (
    ALIGNMENT,
    BLOCKLIST_AT,
    KERNEL_SECTOR_AT,
    SECTOR,
    _copy_into,
    layout,
    partition_script,
    patched_boot_code,
    patched_core,
)

GIB = 1024**3


@pytest.mark.parametrize("generation", [1, 2])
def test_partitions_are_aligned_apart_and_inside_the_disk(generation: int) -> None:
    plan = layout(generation, size_bytes=3 * GIB)
    assert plan.first_start % ALIGNMENT == plan.root_start % ALIGNMENT == plan.root_sectors % ALIGNMENT == 0
    assert plan.first_start + plan.first_sectors <= plan.root_start
    # the second partition table takes the last 33 sectors
    assert plan.root_start + plan.root_sectors <= plan.total_sectors - 33


def test_the_first_partition_is_for_the_firmware_and_the_last_is_the_root() -> None:
    bios, uefi = (partition_script(layout(generation, size_bytes=3 * GIB)) for generation in (1, 2))
    assert "21686148-6449-6E6F-744E-656564454649" in bios.splitlines()[1]
    assert "C12A7328-F81F-11D2-BA4B-00C04FC93EC9" in uefi.splitlines()[1]
    assert "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709" in bios.splitlines()[2]


def test_the_boot_sector_finds_the_core_and_keeps_the_partition_table() -> None:
    code = patched_boot_code(bytes(range(256)) * 2, core_start=2048)
    assert len(code) == 440
    assert struct.unpack_from("<Q", code, KERNEL_SECTOR_AT) == (2048,)
    assert code[:KERNEL_SECTOR_AT] == bytes(range(KERNEL_SECTOR_AT))


@pytest.mark.parametrize(("size", "rest"), [(SECTOR * 60, 59), (SECTOR * 60 + 1, 60), (SECTOR + 1, 1)])
def test_the_core_knows_where_its_rest_is_and_how_long(size: int, rest: int) -> None:
    core = patched_core(bytes(size), core_start=2048)
    start, length = struct.unpack_from("<QH", core, BLOCKLIST_AT)
    assert (start, length) == (2049, rest)


def test_a_boot_sector_of_another_size_is_refused() -> None:
    with pytest.raises(VmkilnError, match="boot"):
        patched_boot_code(bytes(100), core_start=1)


def test_a_part_with_holes_is_copied_whole_and_stays_sparse(tmp_path: Path) -> None:
    part, disk = tmp_path / "part", tmp_path / "disk"
    content = bytes(range(1, 256)) * 257
    with part.open("wb") as file:
        file.seek(8 * 1024 * 1024)
        file.write(content)
        file.truncate(16 * 1024 * 1024)
    with disk.open("wb") as file:
        file.truncate(32 * 1024 * 1024)
    _copy_into(disk, part, offset=1024 * 1024, limit=20 * 1024 * 1024)
    copied = disk.read_bytes()
    assert copied[1024 * 1024 :][: 16 * 1024 * 1024] == part.read_bytes()
    assert disk.stat().st_blocks * 512 < 4 * 1024 * 1024


def test_a_part_larger_than_its_partition_is_refused(tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(bytes(4096))
    (tmp_path / "disk").write_bytes(bytes(8192))
    with pytest.raises(VmkilnError, match="its partition"):
        _copy_into(tmp_path / "disk", tmp_path / "part", offset=0, limit=2048)
