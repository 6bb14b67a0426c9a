"""What was on record once is kept and listed; what was deleted on purpose, or was never recorded, goes."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from publishing import COMPUTE, RUN_ID, a_flat_disk, to_gallery, to_managed_image

from vmkiln.errors import ImageConflict
from vmkiln.images import image_store, vhd_image
from vmkiln.images.image_note import NOTE, NOTES
from vmkiln.images.image_store import verified
from vmkiln.images.quarantine import adopt, purge, unrecorded
from vmkiln.preparation import opened_store
from vmkiln.run.cleaning_up import end_leftovers
from vmkiln.settings import Settings
from vmkiln.store.database import Store
from vmkiln.store.rows import ImageRow


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(tmp_path)


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    with opened_store(settings, lambda _text: None) as found:
        yield found


def to_vhd(settings: Settings, store: Store) -> None:
    file = settings.staging / "IT_rg" / "account" / "vhds" / "web.vhd"
    facts = a_flat_disk(settings.home)
    asyncio.run(vhd_image.publish(file, store, facts, artifact_id="/staging/IT_rg/vhds/web.vhd", tags={}))


PUBLISHERS: dict[str, Callable[[Settings, Store], object]] = {
    "managed image": lambda settings, store: to_managed_image(settings.home, store, a_flat_disk(settings.home)),
    "image version": lambda settings, store: to_gallery(settings.home, store, a_flat_disk(settings.home)),
    "VHD": to_vhd,
}


def clean_up(settings: Settings, store: Store) -> None:
    end_leftovers(settings, store, lambda _text: None)


def published(settings: Settings, store: Store, kind: str) -> ImageRow:
    PUBLISHERS[kind](settings, store)
    clean_up(settings, store)
    [image] = store.images.list()
    return image


def backed_up(settings: Settings) -> Callable[[], None]:
    """A back-up of the database; what is given restores it."""
    kept = settings.home / "kept.sqlite"
    with sqlite3.connect(settings.database) as from_, sqlite3.connect(kept) as to:
        from_.backup(to)
    from_.close()
    to.close()

    def restore() -> None:
        with sqlite3.connect(kept) as from_, sqlite3.connect(settings.database) as to:
            from_.backup(to)
        from_.close()
        to.close()

    return restore


@pytest.mark.parametrize("kind", PUBLISHERS)
def test_an_image_that_is_newer_than_a_restored_back_up_is_kept_and_adopted(
    kind: str, settings: Settings, store: Store
) -> None:
    restore = backed_up(settings)
    image = published(settings, store, kind)
    restore()
    assert store.images.list() == []
    for _ in range(3):
        clean_up(settings, store)
    assert unrecorded(settings, store) == [image]
    adopt(image, store)
    assert store.images.list() == [image]
    asyncio.run(verified(image))
    assert unrecorded(settings, store) == []
    clean_up(settings, store)
    assert image.path.is_file()


@pytest.mark.parametrize("kind", PUBLISHERS)
def test_what_is_purged_is_gone_for_good(kind: str, settings: Settings, store: Store) -> None:
    restore = backed_up(settings)
    image = published(settings, store, kind)
    restore()
    purge(image, store)
    clean_up(settings, store)
    assert not image.path.exists()
    assert unrecorded(settings, store) == []
    assert [*settings.home.rglob(NOTE), *settings.home.rglob(NOTES)] == []


@pytest.mark.parametrize("kind", PUBLISHERS)
def test_a_deletion_that_was_cut_off_is_ended_and_nothing_is_quarantined(
    kind: str, settings: Settings, store: Store
) -> None:
    image = published(settings, store, kind)
    store.images.remove(image.artifact_id)  # and the process dies before it deletes the files
    assert image.path.is_file()
    assert unrecorded(settings, store) == []
    clean_up(settings, store)
    clean_up(settings, store)
    assert not image.path.exists()
    assert [*settings.home.rglob(NOTE), *settings.home.rglob(NOTES)] == []


@pytest.mark.parametrize("kind", PUBLISHERS)
def test_a_deleted_image_leaves_no_note(kind: str, settings: Settings, store: Store) -> None:
    image = published(settings, store, kind)
    image_store.remove(image, store)
    clean_up(settings, store)
    assert [*settings.home.rglob(NOTE), *settings.home.rglob(NOTES)] == []


def test_an_image_is_published_again_where_one_was_deleted(settings: Settings, store: Store) -> None:
    image = published(settings, store, "VHD")
    image_store.remove(image, store)
    restore = backed_up(settings)
    again = published(settings, store, "VHD")
    assert again.path == image.path
    assert store.images.gone([again.path]) == set()
    restore()
    clean_up(settings, store)
    assert not again.path.exists(), "by the records it was deleted"


def test_an_id_that_is_taken_meanwhile_is_not_adopted(settings: Settings, store: Store) -> None:
    restore = backed_up(settings)
    image = published(settings, store, "managed image")
    restore()
    store.images.add(image_of_another_run(image))
    with pytest.raises(ImageConflict):
        adopt(image, store)
    purge(image, store)
    assert [row.run_id for row in store.images.list()] != [RUN_ID]
    assert not image.path.exists()


def image_of_another_run(image: ImageRow) -> ImageRow:
    other = image.path.parent.with_name("other") / "disk.qcow2"
    return ImageRow(**{**vars(image), "run_id": "other", "path": other})


def test_whoever_opens_the_database_is_told(settings: Settings, store: Store) -> None:
    restore = backed_up(settings)
    image = published(settings, store, "managed image")
    restore()
    said: list[str] = []
    with opened_store(settings, said.append):
        pass
    assert [text for text in said if "vmkiln image quarantine" in text]
    assert image.path.is_file()
    assert image.artifact_id.startswith(COMPUTE)
