"""Data disks of an image: where their files lie, what a record says of them, one of them by its number."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from publishing import IMAGE_ID, a_flat_disk, to_gallery, to_managed_image, to_vhd, with_data_disks

from vmkiln.errors import ImageNotFound, ImageUnsafe
from vmkiln.images import data_disk
from vmkiln.images.data_disk import data_disks_of, file_beside, part_of, parts_of
from vmkiln.images.image_store import Artifact, held, remove, verified
from vmkiln.store.database import Store, opened


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with opened(tmp_path / "db") as store:
        yield store


def test_a_data_disk_is_beside_its_os_disk_under_its_number() -> None:
    assert file_beside(Path("/i/disk.qcow2"), 0) == Path("/i/disk-data-0.qcow2")
    assert file_beside(Path("/i/web.vhd"), 12) == Path("/i/web-data-12.vhd")


@pytest.mark.parametrize("publish", [to_managed_image, to_gallery])
async def test_an_image_is_published_with_its_data_disks(
    tmp_path: Path, store: Store, publish: Callable[..., Artifact]
) -> None:
    facts = with_data_disks(a_flat_disk(tmp_path), luns=(0, 3))
    artifact = publish(tmp_path, store, facts)
    image = store.images.find(artifact.artifact_id)
    assert image is not None
    assert data_disks_of(image) == facts.data_disks
    assert data_disk.files_beside(image.path).keys() == {0, 3}
    assert await verified(image) == image
    assert [part.path for part in parts_of(image)][-1] == image.path, "the OS disk is the last"
    remove(image, store)
    assert not image.path.parent.exists()


async def test_a_changed_or_missing_data_disk_makes_the_image_unusable(tmp_path: Path, store: Store) -> None:
    to_managed_image(tmp_path, store, with_data_disks(a_flat_disk(tmp_path), luns=(0,)))
    image = store.images.find(IMAGE_ID)
    assert image is not None
    file = file_beside(image.path, 0)
    file.chmod(0o600)
    with file.open("r+b") as content:
        content.write(b"changed")
    with pytest.raises(ImageUnsafe, match=file.name):
        await verified(image)
    file.unlink()
    with pytest.raises(ImageNotFound, match=file.name):
        await verified(image)


async def test_a_run_holds_the_data_disks_of_its_source_too(tmp_path: Path, store: Store) -> None:
    to_managed_image(tmp_path, store, with_data_disks(a_flat_disk(tmp_path), luns=(1,)))
    image = store.images.find(IMAGE_ID)
    assert image is not None
    folder = tmp_path / "run"
    folder.mkdir()
    own = await held(image, folder)
    remove(image, store)
    assert await verified(own) == own
    assert sorted(path.name for path in folder.iterdir()) == ["source-data-1.qcow2", "source.qcow2"]


def test_each_data_disk_becomes_a_vhd_of_its_own(tmp_path: Path, store: Store) -> None:
    artifact = to_vhd(tmp_path, store, with_data_disks(a_flat_disk(tmp_path), luns=(0, 1)))
    names = ["web-data-0.vhd", "web-data-1.vhd", "web.vhd"]
    assert artifact.path.name == "web.vhd"
    assert sorted(path.name for path in artifact.path.parent.iterdir()) == names
    assert sorted(image.path.name for image in store.images.list()) == names
    assert all(not data_disks_of(image) for image in store.images.list())


def test_one_data_disk_is_had_by_its_number_or_the_error_names_them(tmp_path: Path, store: Store) -> None:
    to_managed_image(tmp_path, store, with_data_disks(a_flat_disk(tmp_path), luns=(0, 3)))
    image = store.images.find(IMAGE_ID)
    assert image is not None
    part = part_of(image, 3)
    assert part.path == file_beside(image.path, 3)
    assert not data_disks_of(part)
    with pytest.raises(ImageNotFound) as caught:
        part_of(image, 1)
    assert caught.value.hint == "its data disks: 0, 3"
    with pytest.raises(ImageNotFound) as caught:
        part_of(replace(image, detail={}), 0)
    assert caught.value.hint == "its data disks: none"
