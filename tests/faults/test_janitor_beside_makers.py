"""The janitor beside whoever makes something: it touches nothing that a living process makes, and leaves nothing of the
dead.
"""

import asyncio
import contextlib
import hashlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from publishing import RUN_ID, VHD_ID, a_flat_disk

from vmkiln.files.durable_file import part_of, write_whole
from vmkiln.images import managed_image, vhd_image
from vmkiln.images.image_store import SHARED_OBJECT, sha256_of
from vmkiln.platform_images import image_cache, making_folder
from vmkiln.run import cleaning_up
from vmkiln.settings import Settings
from vmkiln.sharing.object_store import ObjectStore, open_object_store
from vmkiln.sharing.shared_storage import SharedStorage
from vmkiln.staging import run_directory
from vmkiln.staging.storage_account import VHDS, account_name
from vmkiln.store.database import Store, opened, utc_now
from vmkiln.store.rows import ImageRow, RunRow

GROUP = "IT_rg_web_0a"
CONTENT = os.urandom(1024) * 1024
SLOW_SECONDS = 0.3
MAKES_PART = """
import sys, time
from pathlib import Path
from vmkiln.files.durable_file import part_of
with part_of(Path(sys.argv[1])):
    print("making", flush=True)
    time.sleep(60)
"""


@dataclass(frozen=True)
class Place:
    """A host with a database, and an object store whose reads take a while."""

    settings: Settings
    store: Store
    shared: SharedStorage
    objects: ObjectStore

    @property
    def vhd(self) -> Path:
        return self.settings.staging / GROUP / account_name(GROUP) / VHDS / "web.vhd"

    def clean_up(self) -> None:
        """What the janitor does, and every command."""
        cleaning_up.end_leftovers(self.settings, self.store, lambda _text: None)
        self.shared.reconcile()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    (tmp_path / "objects").mkdir()
    settings = Settings(tmp_path / "home", object_store=f"file://{tmp_path}/objects")
    settings.home.mkdir()
    with opened(settings.database, home=settings.home) as store:
        objects = open_object_store(settings.object_store, {})
        store.staging.add_group(GROUP, run_id="", storage_account=account_name(GROUP), tags={})
        read_from = objects.read_from

        def slowly(*arguments: Any, **options: Any) -> bytes:
            time.sleep(SLOW_SECONDS)
            return read_from(*arguments, **options)

        monkeypatch.setattr(objects, "read_from", slowly)
        yield Place(settings, store, SharedStorage(settings, store, objects), objects)


@contextlib.contextmanager
def janitor(place: Place) -> Iterator[None]:
    """It cleans up without a pause while the block lasts, and at least once."""
    is_over = threading.Event()
    rounds: list[BaseException | None] = []

    def clean_up() -> None:
        while not is_over.is_set() or not rounds:
            try:
                place.clean_up()
                rounds.append(None)
            except BaseException as error:
                rounds.append(error)
            time.sleep(0.005)

    thread = threading.Thread(target=clean_up)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join(60)
    assert rounds
    assert not [error for error in rounds if error is not None]


def an_image(place: Place, artifact_id: str, path: Path) -> ImageRow:
    """An image that another host made, recorded and stored."""
    key = f"images/{RUN_ID}/0001/{hashlib.sha256(artifact_id.encode()).hexdigest()}.raw"
    place.objects.put(key, CONTENT)
    digest = hashlib.sha256(CONTENT).hexdigest()
    kind = vhd_image.KIND if VHDS in path.parts else managed_image.KIND
    size = len(CONTENT)
    detail = {SHARED_OBJECT: key}
    row = ImageRow(artifact_id, kind, path, "vhd", digest, size, size, 1, "Linux", "", RUN_ID, {}, detail, utc_now())
    place.store.images.add(row)
    return row


def fetches_a_vhd(place: Place) -> None:
    row = an_image(place, f"/staging/{GROUP}/vhds/web.vhd", place.vhd)
    place.shared.images.fetch(row)
    assert place.vhd.read_bytes() == CONTENT


def fetches_an_image(place: Place) -> None:
    path = place.settings.image_store / f"web-0123456789ab-{RUN_ID[:8]}-1" / "disk.qcow2"
    row = an_image(place, "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/images/web", path)
    place.shared.images.fetch(row)
    assert path.read_bytes() == CONTENT


def publishes_a_vhd(place: Place) -> None:
    place.store.runs.add(RunRow(RUN_ID, "web", "rg", {}, "Running", "", "", "", GROUP, {}, utc_now(), None))
    with run_directory.locked(place.settings.runs, RUN_ID), run_directory.held(place.settings.runs, RUN_ID) as folder:
        facts = a_flat_disk(folder)

        async def share(file: Path, digest: str) -> str:
            await asyncio.sleep(SLOW_SECONDS)
            return place.shared.images.share(file, run_id=RUN_ID, attempt=1, digest=digest, file_format="vhd")

        asyncio.run(vhd_image.publish(place.vhd, place.store, facts, artifact_id=VHD_ID, tags={}, share=share))
        time.sleep(SLOW_SECONDS)
        assert folder.is_dir()
    [image] = place.store.images.list()
    assert sha256_of(place.vhd) == image.digest
    place.store.runs.move(RUN_ID, expected=["Running"], state="Succeeded")


def takes_an_image_into_the_cache(place: Place) -> None:
    cache = place.settings.image_cache
    for number in range(5):
        file = place.settings.home / f"made-{number}"
        file.write_bytes(CONTENT + bytes([number]))
        facts = {"format": "qcow2", "generation": 1, "os_type": "Linux", "virtual_size_bytes": 1, "origin": "here"}
        image = image_cache.add(cache, file, name=f"i{number}", exact_version="1.0.0", created=utc_now(), **facts)
        assert asyncio.run(image_cache.checked(image)).path.is_file()
    assert len(image_cache.cached_images(cache)) == 5


MAKERS = [fetches_a_vhd, fetches_an_image, publishes_a_vhd, takes_an_image_into_the_cache]


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_the_janitor_touches_nothing_that_is_being_made(place: Place, make: Callable[[Place], None]) -> None:
    with janitor(place):
        make(place)
    unfinished = [path for path in place.settings.home.rglob("*") if path.name.endswith(".part")]
    assert unfinished == []


async def test_a_folder_in_which_an_image_is_made_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making_folder, "LEAST_AGE_SECONDS", 0.01)
    async with making_folder.opened(tmp_path) as folder:
        (folder / "disk").touch()
        await asyncio.sleep(0.05)
        await making_folder.remove_abandoned(tmp_path)
        assert (folder / "disk").exists()


def test_a_part_stays_while_its_maker_lives_and_goes_when_it_is_killed(place: Place) -> None:
    place.vhd.parent.mkdir(parents=True)
    part = place.vhd.with_name(".web.vhd.part")
    with subprocess.Popen(
        [sys.executable, "-c", MAKES_PART, str(place.vhd)], stdout=subprocess.PIPE, text=True
    ) as maker:
        try:
            assert maker.stdout is not None
            assert maker.stdout.readline() == "making\n"
            place.clean_up()
            assert part.exists()
        finally:
            maker.kill()
            maker.wait(10)
    assert part.exists()
    place.clean_up()
    assert not part.exists()


def test_many_writers_of_one_file_and_a_janitor_leave_it_whole(place: Place) -> None:
    """Each of them used to take the others' unfinished file for that of a dead one."""
    cached = place.settings.image_cache / ("0" * 64)
    cached.mkdir(parents=True)
    file = cached / "checked.json"
    contents = [bytes([letter]) * 200_000 for letter in b"abcdef"]
    write_whole(file, contents[0])
    failures: list[BaseException] = []

    def write(content: bytes) -> None:
        try:
            for _ in range(20):
                write_whole(file, content)
                assert file.read_bytes() in contents
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=[content]) for content in contents]
    with janitor(place):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert failures == []
    assert [path.name for path in cached.iterdir()] == ["checked.json"]


def test_who_waited_for_a_part_that_was_removed_makes_a_new_one(tmp_path: Path) -> None:
    file = tmp_path / "file"
    done: list[bytes] = []

    def second() -> None:
        write_whole(file, b"second")
        done.append(file.read_bytes())

    waiting = threading.Thread(target=second)

    def first() -> None:
        with part_of(file):
            waiting.start()
            time.sleep(0.1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        first()
    waiting.join(10)
    assert done == [b"second"]
    assert list(tmp_path.iterdir()) == [file]
