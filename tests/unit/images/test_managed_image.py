"""Managed images: one per id, replaced as a whole."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from publishing import IMAGE_ID, MIB, a_flat_disk, to_managed_image

from vmkiln.errors import ImageConflict
from vmkiln.host.disk.disk_image import is_sound, virtual_size
from vmkiln.host.qemu import Disk
from vmkiln.store.database import Store, opened


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with opened(tmp_path / "db") as store:
        yield store


async def test_the_image_is_a_whole_qcow2_file_that_nobody_may_write(store: Store, tmp_path: Path) -> None:
    facts = a_flat_disk(tmp_path)
    artifact = to_managed_image(tmp_path, store, facts)
    assert (artifact.artifact_id, artifact.artifact_uri) == (IMAGE_ID, "")
    assert artifact.path.is_relative_to(tmp_path / "images")
    assert artifact.path.stat().st_mode & 0o777 == 0o400
    disk = Disk(artifact.path, "qcow2")
    assert await is_sound(disk)
    assert await virtual_size(disk) == 7 * MIB // 2


def test_what_is_known_of_it_is_recorded(store: Store, tmp_path: Path) -> None:
    facts = a_flat_disk(tmp_path, generation=2)
    to_managed_image(tmp_path, store, facts)
    image = store.images.find(IMAGE_ID.lower())
    assert image is not None
    assert (image.kind, image.generation, image.os_type) == ("ManagedImage", 2, "Linux")
    assert (image.digest, image.size_bytes) == (facts.digest, facts.flat.stat().st_size)
    assert image.tags == {"a": "b"}
    assert image.detail == {"location": "westeurope"}


def test_another_run_replaces_it_and_the_older_file_is_gone(store: Store, tmp_path: Path) -> None:
    first = to_managed_image(tmp_path, store, a_flat_disk(tmp_path, run_id="11111111"))
    second = to_managed_image(tmp_path, store, a_flat_disk(tmp_path, run_id="22222222"))
    assert not first.path.exists()
    assert [image.path for image in store.images.list()] == [second.path]
    assert [path for path in (tmp_path / "images").rglob("*") if path.is_file()] == [second.path]


def test_publishing_again_in_the_same_run_changes_nothing(store: Store, tmp_path: Path) -> None:
    facts = a_flat_disk(tmp_path)
    first = to_managed_image(tmp_path, store, facts)
    before = store.images.list()
    assert to_managed_image(tmp_path, store, facts) == first
    assert store.images.list() == before


def test_an_image_does_not_move_to_another_location(store: Store, tmp_path: Path) -> None:
    first = to_managed_image(tmp_path, store, a_flat_disk(tmp_path, run_id="11111111"))
    second = a_flat_disk(tmp_path, run_id="22222222")
    with pytest.raises(ImageConflict, match="exists in westeurope"):
        to_managed_image(tmp_path, store, second, location="eastus")
    assert first.path.is_file()
    to_managed_image(tmp_path, store, second, location="West Europe")
