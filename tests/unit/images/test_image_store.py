"""The image store: whole or not at all, whoever dies, is cancelled or publishes beside us."""

import asyncio
import errno
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from publishing import PUBLISHERS, a_flat_disk, to_gallery, to_managed_image, warm_processes

from vmkiln.errors import DatabaseAway, ImageConflict, ImageNotFound, ImageUnsafe, StorageFull
from vmkiln.files.durable_file import part_of
from vmkiln.files.sparse_file import sparse_sha256
from vmkiln.images import image_store
from vmkiln.images.image_store import (
    folder_for,
    held,
    link_or_copy,
    publish_linked,
    reconcile,
    remove,
    safe_name,
    sealed,
    to_the_end,
    verified,
)
from vmkiln.store.database import Store, opened

OLDER_RUN = "ffffffff-1111-0000-0000-000000000000"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with opened(tmp_path / "db") as store:
        yield store


def names_in(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "text", ["../../etc/passwd", "/a/b/..", ".hidden", "a b;c\n", "Ünïcode", "x" * 500, "", "a/", "\0", "-rf", "%2e%2e"]
)
def test_a_file_name_made_from_user_input_is_harmless(text: str) -> None:
    name = safe_name(text)
    assert 0 < len(name) <= 60
    assert name[0] not in ".-"
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789._-")


def test_different_ids_get_different_places_and_case_does_not_matter(tmp_path: Path) -> None:
    assert folder_for(tmp_path, "/a/x", "r") == folder_for(tmp_path, "/A/X", "r")
    places = [
        folder_for(tmp_path, name, run, attempt=attempt)
        for name in ("/a/x", "/b/x")
        for run in ("r1", "r2")
        for attempt in (1, 2)
    ]
    assert len(set(places)) == 8


def test_publishing_copies_no_byte(store: Store, tmp_path: Path) -> None:
    facts = a_flat_disk(tmp_path)
    managed = to_managed_image(tmp_path, store, facts)
    version = to_gallery(tmp_path, store, facts)
    assert managed.path.stat().st_ino == version.path.stat().st_ino == facts.flat.stat().st_ino


async def test_sealing_makes_a_file_read_only_and_gives_its_digest(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"abc")
    assert await sealed(file) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert file.stat().st_mode & 0o777 == 0o400


def test_a_place_that_is_taken_is_not_replaced(tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    flat.write_bytes(b"new")
    place = tmp_path / "place"
    place.mkdir()
    (place / "disk.qcow2").write_bytes(b"old")
    with pytest.raises(ImageConflict):
        publish_linked(flat, place, ["disk.qcow2"])
    assert (place / "disk.qcow2").read_bytes() == b"old"
    assert names_in(tmp_path) == {"flat", "place/disk.qcow2"}


def test_where_no_link_can_be_made_the_file_is_copied_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"content")
    real = Path.hardlink_to

    def refused_across(self: Path, other: Path) -> None:
        if other == source:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        real(self, other)

    monkeypatch.setattr(Path, "hardlink_to", refused_across)
    link_or_copy(source, target)
    assert target.read_bytes() == b"content"
    assert target.stat().st_mode & 0o777 == 0o400
    with pytest.raises(FileExistsError):
        link_or_copy(source, target)
    assert names_in(tmp_path) == {"source", "target"}


async def test_an_image_that_was_changed_is_refused(store: Store, tmp_path: Path) -> None:
    to_managed_image(tmp_path, store, a_flat_disk(tmp_path))
    image = store.images.list()[0]
    assert await verified(image) == image
    image.path.chmod(0o644)
    with image.path.open("r+b") as file:
        file.seek(70000)
        byte = file.read(1)
        file.seek(70000)
        file.write(bytes([byte[0] ^ 1]))
    with pytest.raises(ImageUnsafe, match="not what was published"):
        await verified(image)
    image.path.unlink()
    with pytest.raises(ImageNotFound, match="gone"):
        await verified(image)


async def test_a_source_that_is_held_outlives_its_replacement(store: Store, tmp_path: Path) -> None:
    to_managed_image(tmp_path, store, a_flat_disk(tmp_path, run_id=OLDER_RUN))
    using = tmp_path / "using"
    using.mkdir()
    own = await held(store.images.list()[0], using)
    to_managed_image(tmp_path, store, a_flat_disk(tmp_path))
    assert own.path.parent == using
    assert await verified(own) == own
    gone = tmp_path / "late"
    gone.mkdir()
    remove(store.images.list()[0], store)
    with pytest.raises(ImageNotFound):
        await held(own, gone / "no-such-folder")


def test_removing_an_image_leaves_nothing(store: Store, tmp_path: Path) -> None:
    facts = a_flat_disk(tmp_path)
    for publish in PUBLISHERS.values():
        publish(tmp_path, store, facts)
    for image in store.images.list():
        remove(image, store)
    assert store.images.list() == []
    assert store.images.definitions() == []
    assert names_in(tmp_path / "images") == names_in(tmp_path / "vhds") == set()


def test_what_no_record_names_is_removed_and_what_is_recorded_stays(store: Store, tmp_path: Path) -> None:
    images = tmp_path / "images"
    assert reconcile(images, store) == []
    kept = to_managed_image(tmp_path, store, a_flat_disk(tmp_path)).path
    (images / ".publishing-web-aaaa-dead0000-1").mkdir()
    (images / "web-aaaa-dead0000-1").mkdir()
    (images / "web-aaaa-dead0000-1" / "disk.qcow2").write_bytes(b"x")
    (images / "stray").write_bytes(b"x")
    (images / "web-aaaa-beef0000-2").mkdir()
    removed = reconcile(images, store, live_run_ids=lambda: ["beef0000-1-2-3"])
    assert removed == [".publishing-web-aaaa-dead0000-1", "stray", "web-aaaa-dead0000-1"]
    assert {path.name for path in images.iterdir()} == {kept.parent.name, "web-aaaa-beef0000-2"}


def test_what_a_killed_fetch_left_goes_and_what_a_living_one_makes_stays(store: Store, tmp_path: Path) -> None:
    image = to_managed_image(tmp_path, store, a_flat_disk(tmp_path)).path
    folder = image.parent
    (folder / ".data-1.qcow2.part").write_bytes(b"half")
    with part_of(folder / "data-2.qcow2"):
        reconcile(tmp_path / "images", store)
        assert sorted(file.name for file in folder.glob(".*.part")) == [".data-2.qcow2.part"]
    assert image.is_file()


def test_a_link_out_of_the_store_is_removed_and_not_followed(store: Store, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_bytes(b"x")
    (tmp_path / "images" / "link").symlink_to(tmp_path / "precious")
    reconcile(tmp_path / "images", store)
    assert names_in(tmp_path) >= {"precious/file"}
    assert not (tmp_path / "images" / "link").exists()


async def test_a_cancelled_publisher_is_waited_for() -> None:
    begun, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    def publish() -> None:
        begun.set()
        may_end.wait(10)
        ended.set()

    task = asyncio.create_task(to_the_end(publish))
    await asyncio.to_thread(begun.wait, 10)
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


async def test_the_error_of_a_publisher_is_passed_on() -> None:
    def publish() -> None:
        raise ImageConflict("no")

    with pytest.raises(ImageConflict):
        await to_the_end(publish)


def test_an_image_that_cannot_be_recorded_leaves_no_file(store: Store, tmp_path: Path) -> None:
    facts = a_flat_disk(tmp_path)

    def failing(*_arguments: object, **_named: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for name in ("add", "add_version", "replace"):
        setattr(store.images, name, failing)
    for publish in PUBLISHERS.values():
        with pytest.raises(StorageFull, match="No space"):
            publish(tmp_path, store, facts)
    assert names_in(tmp_path / "images") == names_in(tmp_path / "vhds") == set()
    assert names_in(facts.flat.parent) == {"disk.raw", "flat.qcow2"}


def test_an_image_whose_records_answer_was_lost_keeps_its_file(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = a_flat_disk(tmp_path)

    def lost(record: Callable[..., Any]) -> Callable[..., Any]:
        def recorded(*arguments: Any, **named: Any) -> Any:
            record(*arguments, **named)
            raise DatabaseAway("server closed the connection unexpectedly")

        return recorded

    for name in ("add", "add_version", "replace"):
        monkeypatch.setattr(store.images, name, lost(getattr(store.images, name)))
    for publish in PUBLISHERS.values():
        with pytest.raises(DatabaseAway):
            publish(tmp_path, store, facts)
    images = store.images.list()
    assert len(images) == len(PUBLISHERS)
    assert all(image.path.is_file() for image in images)


def publish_versions(directory: Path, run_id: str, count: int) -> None:
    facts = a_flat_disk(directory, run_id=run_id)
    with opened(directory / "db") as store:
        for _ in range(count):
            to_gallery(directory, store, facts)


def test_concurrent_publishers_get_different_versions(tmp_path: Path) -> None:
    context = warm_processes()
    publishers = [
        context.Process(target=publish_versions, args=(tmp_path, f"{number}{OLDER_RUN[1:]}", 5)) for number in range(4)
    ]
    for publisher in publishers:
        publisher.start()
    for publisher in publishers:
        publisher.join(30)
    assert [publisher.exitcode for publisher in publishers] == [0] * 4
    with opened(tmp_path / "db") as store:
        images = store.images.list()
        assert {image.key.rpartition("/")[2] for image in images} == {f"1.0.{patch}" for patch in range(20)}
        assert len({image.path for image in images}) == 20
        assert all(image.path.is_file() for image in images)
        assert reconcile(tmp_path / "images", store) == []


async def test_a_hash_that_nobody_waits_for_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk of hours ends with the run that it was flattened for."""
    path = tmp_path / "disk"
    with path.open("wb") as file:
        file.truncate(2**43)  # of zeros: more than an hour
    began = threading.Event()

    def telling(file: Path, *, between: Callable[[], None]) -> str:
        def and_tell() -> None:
            began.set()
            between()

        return sparse_sha256(file, between=and_tell)

    monkeypatch.setattr(image_store, "sparse_sha256", telling)
    hashing = asyncio.create_task(image_store.sealed(path))
    await asyncio.to_thread(began.wait, 60)
    hashing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hashing
    await asyncio.get_running_loop().shutdown_default_executor()
