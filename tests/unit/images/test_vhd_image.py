"""VHD targets: a fixed VHD that Azure takes and QEMU reads the same disk from."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from publishing import MIB, VHD_ID, a_flat_disk, to_vhd

from vmkiln.errors import ImageConflict, ImageUnsafe
from vmkiln.host.disk.disk_image import is_same, virtual_size
from vmkiln.host.qemu import Disk
from vmkiln.images import vhd_image
from vmkiln.images.image_store import sha256_of
from vmkiln.images.vhd_image import read_vhd
from vmkiln.store.database import Store, opened


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with opened(tmp_path / "db") as store:
        yield store


async def test_qemu_reads_the_same_disk_from_it(tmp_path: Path) -> None:
    facts = a_flat_disk(tmp_path)
    with opened(tmp_path / "db") as store:
        file = tmp_path / "vhds" / "web.vhd"
        await vhd_image.publish(file, store, facts, artifact_id=VHD_ID, tags={})
    vhd = Disk(file, "vpc")
    assert await virtual_size(vhd) == 4 * MIB
    assert await is_same(Disk(facts.flat, "qcow2"), vhd)


def test_it_is_fixed_aligned_and_as_long_as_it_says(store: Store, tmp_path: Path) -> None:
    artifact = to_vhd(tmp_path, store, a_flat_disk(tmp_path))
    assert artifact.path.stat().st_size == 4 * MIB + 512
    found = read_vhd(artifact.path)
    assert (found.size_bytes, found.disk_type) == (4 * MIB, 2)


def test_its_holes_take_no_room(store: Store, tmp_path: Path) -> None:
    artifact = to_vhd(tmp_path, store, a_flat_disk(tmp_path))
    assert artifact.path.stat().st_blocks * 512 < MIB


def test_it_is_found_by_its_address_and_recorded(store: Store, tmp_path: Path) -> None:
    artifact = to_vhd(tmp_path, store, a_flat_disk(tmp_path))
    assert (artifact.artifact_id, artifact.artifact_uri) == ("", artifact.path.as_uri())
    image = store.images.find(VHD_ID)
    assert image is not None
    assert (image.path, image.digest) == (artifact.path, sha256_of(artifact.path))
    assert (image.virtual_size_bytes, image.size_bytes) == (4 * MIB, 4 * MIB + 512)
    assert image.tags == {"a": "b"}


def test_another_runs_vhd_is_not_replaced(store: Store, tmp_path: Path) -> None:
    first = to_vhd(tmp_path, store, a_flat_disk(tmp_path, run_id="11111111"))
    digest = sha256_of(first.path)
    second = a_flat_disk(tmp_path, run_id="22222222")
    with pytest.raises(ImageConflict, match="exists already"):
        to_vhd(tmp_path, store, second)
    assert sha256_of(first.path) == digest
    assert {path.name for path in second.flat.parent.iterdir()} == {"disk.raw", "flat.qcow2"}


def test_publishing_again_in_the_same_run_changes_nothing(store: Store, tmp_path: Path) -> None:
    facts = a_flat_disk(tmp_path)
    first = to_vhd(tmp_path, store, facts)
    before = store.images.list()
    assert to_vhd(tmp_path, store, facts) == first
    assert store.images.list() == before


async def test_a_cancelled_conversion_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = a_flat_disk(tmp_path)
    written = asyncio.Event()

    async def endless(_disk: Disk, target: Path, *, target_format: str) -> None:
        target.write_bytes(target_format.encode())
        written.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(vhd_image, "convert", endless)
    with opened(tmp_path / "db") as store:
        file = tmp_path / "vhds" / "web.vhd"
        task = asyncio.create_task(vhd_image.publish(file, store, facts, artifact_id=VHD_ID, tags={}))
        await written.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert store.images.list() == []
    assert not file.exists()
    assert {path.name for path in facts.flat.parent.iterdir()} == {"disk.raw", "flat.qcow2"}


@pytest.mark.parametrize("content", [b"", b"x" * 511, bytes(MIB), bytes(MIB + 512)])
def test_a_file_that_is_no_vhd_is_refused(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "x.vhd"
    file.write_bytes(content)
    with pytest.raises(ImageUnsafe):
        read_vhd(file)
