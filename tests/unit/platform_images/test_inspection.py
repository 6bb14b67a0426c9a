"""Size bombs: a small file that is a large disk is measured, and refused before anything is written."""

import shutil
import subprocess
from collections import namedtuple
from pathlib import Path

import pytest

from vmkiln.errors import ImageUnsafe, StorageFull, VmkilnError
from vmkiln.images.image_header import inspect_image
from vmkiln.platform_images import inspection
from vmkiln.platform_images.image_import import ImportedFacts, import_image, parse_name
from vmkiln.platform_images.inspection import inspected

GIB = 1024**3
CLUSTER = 65536
Usage = namedtuple("Usage", "total used free")


def bomb(path: Path, *, size_bytes: int) -> Path:
    """A qcow2 file in which every cluster of the disk is the same cluster of the file."""
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, str(size_bytes)], check=True)
    with path.open("r+b") as file:
        header = file.read(64)
        table = int.from_bytes(header[40:48])
        end = -(-path.stat().st_size // CLUSTER) * CLUSTER
        file.seek(end)
        file.write((b"x" * 510 + b"\x55\xaa").ljust(CLUSTER, b"x"))  # as a disk that a machine starts from
        entries = size_bytes // CLUSTER
        file.write((end.to_bytes(8)) * entries)
        tables = range(end + CLUSTER, end + CLUSTER + entries * 8, CLUSTER)
        file.seek(table)
        file.write(b"".join(offset.to_bytes(8) for offset in tables))
    return path


async def test_a_small_file_that_is_a_large_disk_is_refused(tmp_path: Path) -> None:
    image = bomb(tmp_path / "bomb.qcow2", size_bytes=4 * GIB)
    assert image.stat().st_size < 12 * 1024**2
    assert inspect_image(image, expected_format="qcow2") == 4 * GIB  # nothing is wrong with its header
    target = tmp_path / "target"
    with pytest.raises(ImageUnsafe, match="more than 50 times as many"):
        await inspected(image, "qcow2", target)
    assert not target.exists()


async def test_a_disk_that_has_no_room_is_refused_before_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = bomb(tmp_path / "small.qcow2", size_bytes=GIB // 2)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: Usage(GIB, 0, GIB // 2))
    target = tmp_path / "target"
    with pytest.raises(StorageFull, match="MiB are free"):
        await inspected(image, "qcow2", target)
    assert not target.exists()


async def test_a_disk_that_cannot_be_measured_in_time_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = bomb(tmp_path / "bomb.qcow2", size_bytes=4 * GIB)
    monkeypatch.setattr("vmkiln.host.disk.disk_image.QUICK_SECONDS", 0.001)
    with pytest.raises(ImageUnsafe, match="cannot be measured"):
        await inspected(image, "qcow2", tmp_path / "target")


async def test_an_honest_disk_is_taken(tmp_path: Path) -> None:
    image = bomb(tmp_path / "honest.qcow2", size_bytes=16 * 1024**2)
    await inspected(image, "qcow2", tmp_path / "target")
    assert (tmp_path / "target").stat().st_size > 16 * 1024**2


@pytest.mark.parametrize(("most_times", "refused"), [(inspection.MOST_TIMES, True), (10**6, False)])
async def test_an_import_refuses_a_bomb_and_leaves_nothing(
    most_times: int, refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspection, "HARMLESS_BYTES", 1024**2)
    monkeypatch.setattr(inspection, "MOST_TIMES", most_times)
    image = bomb(tmp_path / "bomb.qcow2", size_bytes=64 * 1024**2)
    cache = tmp_path / "cache"
    name = parse_name("Some:Image:gen1:1.2.3")

    async def taken() -> None:
        await import_image(str(image), name, ImportedFacts(), cache_directory=cache, progress=lambda _text: None)

    if not refused:
        await taken()
        return
    with pytest.raises(VmkilnError, match="times as many"):
        await taken()
    assert list(cache.rglob("*.qcow2")) == []
