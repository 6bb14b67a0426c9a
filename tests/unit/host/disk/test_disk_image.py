"""Disk images: what qemu-img is asked, and that a header which names another file is not believed."""

import os
import re
from pathlib import Path

import pytest

from vmkiln.host.disk import disk_image
from vmkiln.host.disk.disk_image import create_overlay, is_same, is_sound, measure, virtual_size
from vmkiln.host.qemu import Disk

MIB = 1024 * 1024
BASE = Disk(Path("/i/base.qcow2"), "qcow2", read_only=True)
OVERLAY = Disk(Path("/r/top.qcow2"), "qcow2", backing=BASE)
BASE_GRAPH = '{"driver": "qcow2", "file": {"driver": "file", "filename": "/i/base.qcow2"}, "backing": null}'
TOP_GRAPH = (
    f'json:{{"driver": "qcow2", "file": {{"driver": "file", "filename": "/r/top.qcow2"}}, "backing": {BASE_GRAPH}}}'
)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            disk_image.overlay_arguments(BASE, Path("/r/top.qcow2"), size_bytes=MIB),
            "create -q -f qcow2 -u -b /i/base.qcow2 -F qcow2 /r/top.qcow2 1048576",
        ),
        (
            disk_image.convert_arguments(OVERLAY, Path("/r/flat"), target_format="qcow2"),
            f"convert -q -m 16 -W -t unsafe -T writeback -O qcow2 {TOP_GRAPH} /r/flat",
        ),
        (
            disk_image.convert_arguments(OVERLAY, Path("/r/flat"), target_format="raw", has_progress=True),
            f"convert -p -m 16 -W -t unsafe -T writeback -O raw {TOP_GRAPH} /r/flat",
        ),
        (
            disk_image.measure_arguments(OVERLAY),
            f"measure --output json -O qcow2 {TOP_GRAPH}",
        ),
        (disk_image.compare_arguments(OVERLAY, BASE), f"compare -q {TOP_GRAPH} json:{BASE_GRAPH}"),
        (disk_image.check_arguments(BASE), f"check -q --output json json:{BASE_GRAPH}"),
        (
            disk_image.size_arguments(OVERLAY),
            'info --output json json:{"driver": "qcow2", '
            '"file": {"driver": "file", "filename": "/r/top.qcow2"}, "backing": null}',
        ),
    ],
    ids=["overlay", "flatten", "to raw with progress", "measure", "compare", "check", "size"],
)
def test_every_format_is_named(arguments: list[str], line: str) -> None:
    assert " ".join(arguments) == f"qemu-img {line}"


def test_a_raw_disk_has_no_backing_file() -> None:
    assert disk_image.graph(Disk(Path("/d"), "raw")) == (
        'json:{"driver": "raw", "file": {"driver": "file", "filename": "/d"}}'
    )
    footed = Disk(Path("/d"), "raw", size_bytes=512)
    assert disk_image.graph(footed) == (
        'json:{"driver": "raw", "file": {"driver": "file", "filename": "/d"}, "size": 512}'
    )


@pytest.fixture
async def base(tmp_path: Path) -> Disk:
    """A small qcow2 base with some content."""
    raw = tmp_path / "base.raw"
    raw.write_bytes(os.urandom(MIB) + bytes(3 * MIB))
    path = tmp_path / "base.qcow2"
    await disk_image.convert(Disk(raw, "raw"), path, target_format="qcow2")
    return Disk(path, "qcow2", read_only=True)


async def test_flattening_keeps_what_the_guest_reads_and_needs_no_chain(base: Disk, tmp_path: Path) -> None:
    overlay = await create_overlay(base, tmp_path / "top.qcow2")
    flat = tmp_path / "flat.qcow2"
    await disk_image.convert(overlay, flat, target_format="qcow2")
    assert await is_same(overlay, Disk(flat, "qcow2"))
    base.path.unlink()
    assert await virtual_size(Disk(flat, "qcow2")) == 4 * MIB
    assert await is_sound(Disk(flat, "qcow2"))


async def test_an_overlay_is_as_large_as_asked(base: Disk, tmp_path: Path) -> None:
    same = await create_overlay(base, tmp_path / "same.qcow2")
    larger = await create_overlay(base, tmp_path / "larger.qcow2", size_bytes=8 * MIB)
    assert await virtual_size(same) == 4 * MIB
    assert await virtual_size(larger) == 8 * MIB
    second = await create_overlay(larger, tmp_path / "second.qcow2")
    assert await virtual_size(second) == 8 * MIB


async def test_different_disks_are_not_the_same(base: Disk, tmp_path: Path) -> None:
    other = tmp_path / "other.raw"
    other.write_bytes(bytes(4 * MIB))
    assert not await is_same(base, Disk(other, "raw"))


async def test_needed_bytes_are_what_is_in_use(base: Disk) -> None:
    measured = await measure(base)
    assert MIB < measured.needed_bytes < 2 * MIB
    assert measured.most_bytes > 4 * MIB


async def test_progress_ends_at_one_hundred(base: Disk, tmp_path: Path) -> None:
    chunks: list[bytes] = []
    await disk_image.convert(base, tmp_path / "out", target_format="raw", progress=chunks.append)
    percents = [float(text) for text in re.findall(rb"\((\d+\.\d+)/100%\)", b"".join(chunks))]
    assert percents == sorted(percents)
    assert percents[-1] == 100


async def test_a_backing_file_named_in_a_header_is_never_opened(tmp_path: Path) -> None:
    canary = tmp_path / "secret"
    canary.write_bytes(b"CANARY".ljust(65536, b"."))
    # as a guest would write it: the header of this image names a file of the host
    evil = await create_overlay(Disk(canary, "raw"), tmp_path / "evil.qcow2", size_bytes=65536)
    leaked, kept = tmp_path / "leaked.raw", tmp_path / "kept.raw"
    await disk_image.convert(evil, leaked, target_format="raw")
    await disk_image.convert(Disk(evil.path, "qcow2"), kept, target_format="raw")
    assert b"CANARY" in leaked.read_bytes()  # the probe does leak when we ask for the chain
    assert b"CANARY" not in kept.read_bytes()


async def test_making_an_overlay_does_not_open_what_it_lies_on(tmp_path: Path) -> None:
    absent = Disk(tmp_path / "absent.qcow2", "qcow2")
    await create_overlay(absent, tmp_path / "top.qcow2", size_bytes=MIB)
    assert (tmp_path / "top.qcow2").is_file()


async def test_a_corrupt_image_is_not_sound(base: Disk) -> None:
    with base.path.open("r+b") as file:
        file.seek(65536)  # the reference count table
        file.write(bytes(65536))
    assert not await is_sound(base)
