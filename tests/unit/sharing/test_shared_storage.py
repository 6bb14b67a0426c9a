"""What hosts share: two state directories are two hosts, with one database and one shared directory."""

import asyncio
import contextlib
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from publishing import IMAGE_ID, RUN_ID, VHD_ID, a_flat_disk, with_data_disks
from stub_build import stub_host

from vmkiln.azure_names import LOG_FILES
from vmkiln.errors import ImageNotFound, ImageUnsafe, RunTakenOver, SharedStorageFailed
from vmkiln.images import managed_image, quarantine, vhd_image
from vmkiln.images.data_disk import data_disks_of
from vmkiln.images.image_store import Artifact, ImageFacts, reconcile, sha256_of, verified
from vmkiln.run.building import resolve_source
from vmkiln.run_state import RunState
from vmkiln.settings import Settings
from vmkiln.sharing import log_pieces, shared_storage
from vmkiln.sharing.object_store import ObjectStore, open_object_store
from vmkiln.sharing.shared_images import NOTE_ENDING
from vmkiln.sharing.shared_storage import DATABASE_MARK, SharedStorage
from vmkiln.staging import run_directory, staging_resource_group
from vmkiln.staging.storage_account import StorageAccount
from vmkiln.store.database import Store, opened, utc_now
from vmkiln.store.rows import ImageRow, RunRow
from vmkiln.store.tables import images
from vmkiln.template.source import ManagedImageSource
from vmkiln.waiting.off_loop import until_cancelled

GROUP = "IT_rg_web_0a"
FILES_OF_A_RUN = len(LOG_FILES)  # both logs with the times of their lines, and its flows
SECONDS = 20


class Counted(ObjectStore):
    """Counts requests, and how often objects are fetched to files; `is_away` makes it refuse everything."""

    def __init__(self, inner: ObjectStore) -> None:
        super().__init__(inner._store, inner.name, directory=inner._directory)
        self.fetched: list[str] = []
        self.asked: list[str] = []
        self.bytes_put = 0
        self.is_away = False

    def get_file(self, key: str, target: Path, **options: Any) -> None:
        self.fetched.append(key)
        time.sleep(0.02)
        super().get_file(key, target, **options)

    def put(self, key: str, content: bytes) -> None:
        self.bytes_put += len(content)
        super().put(key, content)

    @contextlib.contextmanager
    def _doing(self, what: str) -> Iterator[None]:
        if self.is_away:
            raise SharedStorageFailed("away")
        self.asked.append(what)
        with super()._doing(what):
            yield

    def requests(self, do: Callable[[], object]) -> list[str]:
        """What was asked of the store while something was done."""
        self.asked.clear()
        do()
        return list(self.asked)


@dataclass
class Host:
    """A machine of the fleet."""

    settings: Settings
    store: Store
    objects: Counted
    shared: SharedStorage = field(init=False)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """A new process: it remembers nothing."""
        self.shared = SharedStorage(self.settings, self.store, self.objects)

    @property
    def account(self) -> StorageAccount:
        row = self.store.staging.group(GROUP)
        assert row is not None
        return staging_resource_group.storage_account_of(self.settings.staging, row)

    def log(self, run_id: str = RUN_ID) -> Path:
        return self.account.blob(f"packerlogs/{run_id}/customization.log")

    def share(self, facts: ImageFacts) -> ImageFacts:
        key = self.shared.images.share(
            facts.flat, run_id=facts.run_id, attempt=facts.attempt, digest=facts.digest, file_format="qcow2"
        )
        data_disks = [
            replace(
                disk,
                shared_object=self.shared.images.share(
                    disk.beside(facts.flat),
                    run_id=facts.run_id,
                    attempt=facts.attempt,
                    digest=disk.digest,
                    file_format="qcow2",
                ),
            )
            for disk in facts.data_disks
        ]
        return replace(facts, shared_object=key, data_disks=tuple(data_disks))

    def publish(self, facts: ImageFacts) -> Artifact:
        """As a run of this host does."""
        images = self.settings.image_store
        return managed_image.publish(
            images, self.store, self.share(facts), image_id=IMAGE_ID, location="westeurope", tags={}
        )

    def image(self) -> ImageRow:
        found = self.store.images.find(IMAGE_ID)
        assert found is not None
        return found


@dataclass
class Fleet:
    a: Host
    b: Host
    directory: Path

    def objects(self) -> list[str]:
        """Images, without the notes beside them."""
        found = self.a.objects.objects("images", with_unfinished=True)
        return [item.key for item in found if not item.key.endswith(NOTE_ENDING)]


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    directory = tmp_path / "shared"
    directory.mkdir()
    with contextlib.ExitStack() as stack:

        def host(name: str) -> Host:
            home = tmp_path / name
            store = stack.enter_context(opened(tmp_path / "database" / "db", home=home))
            return Host(Settings(home), store, Counted(open_object_store(directory.as_uri(), {})))

        found = Fleet(host("a"), host("b"), directory)
        found.a.store.runs.add(
            RunRow(RUN_ID, "web", "rg", {}, "Running", "", "", "", GROUP, {}, utc_now(), None, "/subscriptions/s/t")
        )
        staging_resource_group.create(found.a.settings.staging, found.a.store, name=GROUP, run_id=RUN_ID, tags={})
        yield found


def other_bytes(facts: ImageFacts) -> ImageFacts:
    """As another attempt makes them: the same disk, but not byte for byte."""
    facts.flat.chmod(0o600)
    with facts.flat.open("ab") as file:
        file.write(bytes(512))
    return replace(facts, digest=sha256_of(facts.flat))


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# images


async def test_what_one_host_published_another_has_once_and_whole(fleet: Fleet, tmp_path: Path) -> None:
    facts = a_flat_disk(tmp_path / "a")
    made = fleet.a.publish(facts)
    image = fleet.b.image()
    assert image.path == fleet.b.settings.home / made.path.relative_to(fleet.a.settings.home)
    with pytest.raises(ImageNotFound, match="gone"):
        await verified(image)
    assert fleet.b.shared.images.fetch(image) == image
    assert await verified(image) == image
    assert image.path.stat().st_mode & 0o777 == 0o400
    fleet.b.restart()
    fleet.b.shared.images.fetch(image)
    fleet.a.shared.images.fetch(fleet.a.image())
    assert fleet.b.objects.fetched == [image.detail["object"]]
    assert fleet.a.objects.fetched == []
    reconcile(fleet.b.settings.image_store, fleet.b.store)
    assert image.path.is_file(), "a host's own clean-up leaves what it fetched"


async def test_an_image_comes_with_its_data_disks_and_goes_with_them(fleet: Fleet, tmp_path: Path) -> None:
    fleet.a.publish(with_data_disks(a_flat_disk(tmp_path / "a"), luns=(0, 2)))
    image = fleet.b.image()
    assert len(fleet.objects()) == 3
    fleet.b.shared.images.fetch(image)
    assert await verified(image) == image
    assert fleet.a.shared.images.reconcile() == [], "all of them are named by the image"
    fleet.a.store.runs.move(RUN_ID, expected=["Running"], state=RunState.SUCCEEDED)
    fleet.a.store.images.remove(IMAGE_ID)
    fleet.a.shared.images.delete(image)
    assert fleet.objects() == []


async def test_a_damaged_data_disk_is_refused_and_the_image_is_not_there(fleet: Fleet, tmp_path: Path) -> None:
    fleet.a.publish(with_data_disks(a_flat_disk(tmp_path / "a"), luns=(0,)))
    image = fleet.b.image()
    file = fleet.directory / data_disks_of(image)[0].shared_object
    file.write_bytes(b"x" * file.stat().st_size)
    with pytest.raises(ImageUnsafe):
        fleet.b.shared.images.fetch(image)
    assert not image.path.exists()


async def test_a_run_starts_from_an_image_that_another_host_made(fleet: Fleet, tmp_path: Path) -> None:
    facts = a_flat_disk(tmp_path / "a")
    fleet.a.publish(facts)
    host = replace(stub_host(fleet.b.settings, fleet.b.store), shared=fleet.b.shared)
    source = ManagedImageSource.model_validate({"type": "ManagedImage", "imageId": IMAGE_ID})
    workplace = tmp_path / "run"
    workplace.mkdir()
    found = await resolve_source(host, source, workplace, progress=print)
    assert found.path == workplace / "source.qcow2"
    assert sha256_of(found.path) == facts.digest


def test_two_runs_at_once_on_a_host_fetch_an_image_once(fleet: Fleet, tmp_path: Path) -> None:
    fleet.a.publish(a_flat_disk(tmp_path / "a"))
    image, two = fleet.b.image(), [SharedStorage(fleet.b.settings, fleet.b.store, fleet.b.objects) for _ in range(3)]
    threads = [threading.Thread(target=shared.images.fetch, args=(image,)) for shared in two]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert len(fleet.b.objects.fetched) == 1
    assert sha256_of(image.path) == image.digest


def test_a_flipped_byte_is_refused_and_nothing_is_kept(fleet: Fleet, tmp_path: Path) -> None:
    fleet.a.publish(a_flat_disk(tmp_path / "a"))
    image = fleet.b.image()
    file = fleet.directory / image.detail["object"]
    content = bytearray(file.read_bytes())
    content[70_000] ^= 1
    file.write_bytes(content)
    with pytest.raises(ImageUnsafe):
        fleet.b.shared.images.fetch(image)
    assert not image.path.parent.exists()
    file.unlink()
    with pytest.raises(ImageNotFound, match="object of the image"):
        fleet.b.shared.images.fetch(image)


def test_an_image_from_before_shared_storage_is_not_found_elsewhere(fleet: Fleet, tmp_path: Path) -> None:
    facts = a_flat_disk(tmp_path / "a")
    images = fleet.a.settings.image_store
    managed_image.publish(images, fleet.a.store, facts, image_id=IMAGE_ID, location="westeurope", tags={})
    assert fleet.a.shared.images.fetch(fleet.a.image()).path.is_file()
    with pytest.raises(ImageNotFound, match="on the host that made it"):
        fleet.b.shared.images.fetch(fleet.b.image())


def test_a_power_cut_between_storing_and_recording_leaves_nothing(fleet: Fleet, tmp_path: Path) -> None:
    facts = fleet.a.share(a_flat_disk(tmp_path / "a"))
    (fleet.directory / f"images/{RUN_ID}/0001/.half.qcow2.0a1b2c3d.part").write_bytes(b"half")
    assert len(fleet.objects()) == 2
    assert fleet.b.shared.reconcile() == [], "its run goes on: it may be about to record it"
    fleet.a.store.runs.move(RUN_ID, expected=["Running"], state=RunState.FAILED)
    removed = fleet.b.shared.reconcile()
    assert removed == [f"images/{RUN_ID}/0001/.half.qcow2.0a1b2c3d.part", facts.shared_object]
    assert fleet.objects() == []


def test_what_is_recorded_outlives_its_run_and_goes_with_its_record(fleet: Fleet, tmp_path: Path) -> None:
    fleet.a.publish(a_flat_disk(tmp_path / "a"))
    image = fleet.a.image()
    fleet.a.store.images.add(replace(image, artifact_id=f"{IMAGE_ID}2"))
    fleet.a.store.runs.move(RUN_ID, expected=["Running"], state=RunState.SUCCEEDED)
    assert fleet.b.shared.reconcile() == []
    fleet.a.store.images.remove(image.artifact_id)
    fleet.a.shared.delete_image(image)
    assert fleet.objects() == [image.detail["object"]], "another image has the same bytes"
    fleet.a.store.images.remove(f"{IMAGE_ID}2")
    fleet.a.shared.delete_image(image)
    assert fleet.objects() == []


def test_an_object_that_a_live_run_may_record_again_is_not_deleted(fleet: Fleet, tmp_path: Path) -> None:
    fleet.a.publish(a_flat_disk(tmp_path / "a"))
    image = fleet.a.image()
    fleet.a.store.images.remove(image.artifact_id)
    fleet.a.shared.delete_image(image)
    assert fleet.objects() == [image.detail["object"]]


def test_an_attempt_that_thaws_overwrites_nothing(fleet: Fleet, tmp_path: Path) -> None:
    frozen = fleet.a.share(a_flat_disk(tmp_path / "a"))
    assert fleet.a.store.runs.requeue(RUN_ID, most_attempts=10)
    newer = other_bytes(replace(a_flat_disk(tmp_path / "b"), attempt=2))
    published = fleet.b.publish(newer)
    before = {path: path.read_bytes() for path in fleet.directory.rglob("*.qcow2")}
    with pytest.raises(RunTakenOver):
        fleet.a.publish(frozen)
    assert {path: path.read_bytes() for path in fleet.directory.rglob("*.qcow2")} == before
    assert fleet.b.image().path == published.path
    assert fleet.b.image().detail["object"] != frozen.shared_object
    assert sorted(path for path in fleet.a.settings.image_store.rglob("*") if path.is_file()) == []
    fleet.a.store.runs.move(RUN_ID, expected=["Queued"], state=RunState.SUCCEEDED)
    assert fleet.b.shared.reconcile() == [frozen.shared_object]
    assert fleet.objects() == [fleet.b.image().detail["object"]]


def test_a_vhd_is_shared_before_it_is_recorded(fleet: Fleet, tmp_path: Path) -> None:
    facts = a_flat_disk(tmp_path / "a")
    seen: list[bool] = []

    async def share(file: Path, digest: str) -> str:
        key = fleet.a.shared.images.share(file, run_id=RUN_ID, attempt=1, digest=digest, file_format="vhd")
        seen.append(fleet.a.store.images.find(VHD_ID) is None)
        return key

    file = fleet.a.account.blob("vhds/web.vhd")
    asyncio.run(vhd_image.publish(file, fleet.a.store, facts, artifact_id=VHD_ID, tags={}, share=share))
    assert seen == [True]
    there = fleet.b.store.images.find(VHD_ID)
    assert there is not None
    fleet.b.shared.images.fetch(there)
    assert fleet.b.account.blob("vhds/web.vhd").read_bytes() == file.read_bytes()


# staging resource groups


def test_scripts_of_a_submission_are_on_every_host(fleet: Fleet) -> None:
    fleet.a.account.blob("scripts/0000-a.sh").write_bytes(b"echo \xff")
    (fleet.a.account.directory / "scripts/.0001-b.sh.part").write_bytes(b"half")
    fleet.a.shared.push_submission(GROUP)
    fleet.b.shared.pull(GROUP)
    assert fleet.b.account.blobs() == ["scripts/0000-a.sh"]
    assert (fleet.b.account.directory / "scripts/0000-a.sh").read_bytes() == b"echo \xff"
    for host in (fleet.a, fleet.b):
        host.restart()
        fetched = list(host.objects.fetched)
        host.shared.pull(GROUP)
        assert host.objects.fetched == fetched, "what is here already is not fetched again"


def test_a_script_that_was_copied_anew_is_fetched_anew(fleet: Fleet) -> None:
    for content in (b"echo 1", b"echo 2"):
        fleet.a.account.blob("scripts/0000-a.sh").write_bytes(content)
        time.sleep(0.01)
        fleet.a.shared.push_submission(GROUP)
        fleet.b.shared.pull(GROUP)
        assert fleet.b.account.blob("scripts/0000-a.sh").read_bytes() == content


def past_runs(fleet: Fleet, count: int) -> None:
    """The logs that earlier runs of the template wrote on another host."""
    for number in range(count):
        log = fleet.a.log(f"{number:08}-0000-0000-0000-000000000000")
        fleet.a.objects.put(f"{log.relative_to(fleet.a.settings.home).as_posix()}/0001/000000", b"line\n")


def test_before_an_attempt_only_what_it_needs_is_asked_for(fleet: Fleet) -> None:
    fleet.a.account.blob("scripts/0000-a.sh").write_bytes(b"echo 1")
    fleet.a.account.blob("scripts/0001-b.sh").write_bytes(b"echo 2")
    fleet.a.shared.push_submission(GROUP)
    fleet.a.shared.try_out()
    costs = []
    for count in (0, 10, 300):
        past_runs(fleet, count)
        shutil.rmtree(fleet.b.account.directory, ignore_errors=True)
        fleet.b.restart()
        first = fleet.b.objects.requests(lambda: fleet.b.shared.pull_for_attempt(GROUP, RUN_ID))
        again = fleet.b.objects.requests(lambda: fleet.b.shared.pull_for_attempt(GROUP, RUN_ID))
        costs.append((len(first), len(again)))
        assert fleet.b.account.blobs() == ["scripts/0000-a.sh", "scripts/0001-b.sh"]
    # the mark, the containers, what is in the only one, the run's own log; for each script its size and its bytes
    assert costs == [(8, 4)] * 3


def test_a_group_of_many_past_runs_is_brought_up_to_date_by_one_listing(fleet: Fleet) -> None:
    past_runs(fleet, 200)
    fleet.b.shared.pull(GROUP)
    assert len([name for name in fleet.b.account.blobs() if name.endswith("customization.log")]) == 200
    assert len(fleet.b.objects.requests(lambda: fleet.b.shared.pull(GROUP))) == 1
    assert len(fleet.b.shared._followed) == 0


def test_what_is_remembered_of_runs_stays_small(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_storage, "MOST_WHOLE", 5)
    run_ids = [f"{number:08}-0000-0000-0000-000000000000" for number in range(20)]
    for run_id in run_ids:
        fleet.a.store.runs.add(RunRow(run_id, "web", "rg", {}, "Running", "", "", "", GROUP, {}, utc_now(), None, "/t"))
    live = fleet.b.shared._follow_logs(set())
    assert len(fleet.b.shared._followed) == FILES_OF_A_RUN * 21
    for run_id in run_ids:
        fleet.a.store.runs.move(run_id, expected=["Running"], state="Succeeded", message="", code="")
    fleet.b.shared._follow_logs(live)
    assert len(fleet.b.shared._followed) == FILES_OF_A_RUN
    known = fleet.b.shared._follow_the_rest({GROUP})
    assert known == {GROUP}
    assert len(fleet.b.shared._whole) == 5
    assert set(fleet.b.shared._whole) < set(run_ids)


def test_a_look_at_a_run_of_another_host_costs_three_requests(fleet: Fleet) -> None:
    past_runs(fleet, 10)
    fleet.b.shared._follow_logs(set())
    asked = fleet.b.objects.requests(lambda: fleet.b.shared._follow_logs(set()))
    assert len(asked) == 3, "its logs, and the two files beside them"


@pytest.mark.parametrize("name", [".hidden/x", "account/.ssh", "account/scripts/.profile"])
def test_no_object_becomes_a_hidden_file(fleet: Fleet, name: str) -> None:
    fleet.a.objects.put(f"staging/{GROUP}/{name}", b"x")
    fleet.b.shared.pull(GROUP)
    assert [path for path in fleet.b.settings.staging.rglob("*") if path.is_file()] == []


def test_the_firewall_rules_of_a_run_are_seen_elsewhere(fleet: Fleet) -> None:
    rules = fleet.a.settings.staging / GROUP / "network-rules.json"

    async def run() -> None:
        async with fleet.a.shared.mirrored(run_id=RUN_ID, attempt=1):
            rules.write_text('{"rules": []}')

    asyncio.run(run())
    fleet.b.shared.pull_log(GROUP, RUN_ID)
    assert (fleet.b.settings.staging / GROUP / "network-rules.json").read_text() == '{"rules": []}'


async def test_a_log_is_seen_elsewhere_while_it_grows_and_whole_at_its_end(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_storage, "LOGS_SECONDS", 0.05)
    following = asyncio.create_task(fleet.b.shared.follow())
    here, there = fleet.a.log(), fleet.b.log()
    try:
        with run_directory.locked(fleet.a.settings.runs, RUN_ID):
            async with fleet.a.shared.mirrored(run_id=RUN_ID, attempt=1):
                here.write_bytes(b"first\n")
                await asyncio.to_thread(until, lambda: there.exists() and there.read_bytes() == b"first\n")
                with here.open("ab") as log:
                    log.write(b"second\n")
                await asyncio.to_thread(until, lambda: there.read_bytes() == b"first\nsecond\n")
                with here.open("ab") as log:
                    log.write(b"last\n")
        await asyncio.to_thread(until, lambda: there.read_bytes() == b"first\nsecond\nlast\n")
    finally:
        following.cancel()
        await asyncio.wait([following])


async def test_when_a_run_has_ended_its_log_is_whole_for_whoever_reads_it(fleet: Fleet) -> None:
    async with fleet.a.shared.mirrored(run_id=RUN_ID, attempt=1):
        fleet.a.log().write_bytes(b"Done exporting\n")
    fleet.a.store.runs.move(RUN_ID, expected=["Running"], state=RunState.SUCCEEDED)
    assert fleet.b.shared.pull_log(GROUP, RUN_ID)
    assert fleet.b.log().read_bytes() == b"Done exporting\n"
    fleet.b.objects.is_away = True
    assert fleet.b.shared.pull_log(GROUP, RUN_ID), "what is whole is not asked for again"
    fleet.b.restart()
    assert not fleet.b.shared.pull_log(GROUP, RUN_ID)


def test_a_long_log_is_sent_in_pieces_and_not_again_whenever_it_grows(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_pieces, "PIECE_BYTES", 1000)
    here, there = fleet.a.log(), fleet.b.log()
    sent = shared_storage.SentRun(fleet.a.settings, fleet.a.store, fleet.a.objects, RUN_ID, 1)
    written = b""
    for size in (10, 990, 2500, 1, 0, 4000, 499, 500):
        written += os.urandom(size)
        here.write_bytes(written)
        before = fleet.a.objects.bytes_put
        sent.send()
        assert fleet.a.objects.bytes_put - before < size + 1000
        fleet.b.shared.pull_log(GROUP, RUN_ID)
        assert there.read_bytes() == written
    fleet.b.restart()
    fleet.b.shared.pull(GROUP)
    assert there.read_bytes() == written
    there.unlink()
    fleet.b.shared.pull_log(GROUP, RUN_ID)
    assert there.read_bytes() == written


def test_a_reader_that_was_away_goes_on_where_it_was(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_pieces, "PIECE_BYTES", 1000)
    sent = shared_storage.SentRun(fleet.a.settings, fleet.a.store, fleet.a.objects, RUN_ID, 1)
    fleet.a.log().write_bytes(bytes(1500))
    sent.send()
    fleet.b.shared.pull_log(GROUP, RUN_ID)
    fleet.a.log().write_bytes(bytes(1500) + b"x" * 3000)
    sent.send()
    fleet.b.restart()
    fleet.b.shared.pull_log(GROUP, RUN_ID)
    assert fleet.b.log().read_bytes() == bytes(1500) + b"x" * 3000


def test_a_second_attempts_log_goes_on_and_a_thawed_first_is_not_heard(fleet: Fleet) -> None:
    first = shared_storage.SentRun(fleet.a.settings, fleet.a.store, fleet.a.objects, RUN_ID, 1)
    fleet.a.log().write_bytes(b"first\n")
    first.send()
    reader = SharedStorage(Settings(fleet.directory.parent / "c"), fleet.a.store, fleet.a.objects)
    read = fleet.directory.parent / "c" / fleet.a.log().relative_to(fleet.a.settings.home)
    reader.pull_log(GROUP, RUN_ID)
    assert read.read_bytes() == b"first\n"
    fleet.b.shared.pull(GROUP)
    with fleet.b.log().open("ab") as log:
        log.write(b"second\n")
    shared_storage.SentRun(fleet.b.settings, fleet.b.store, fleet.b.objects, RUN_ID, 2).send()
    fleet.a.log().write_bytes(b"first\nthawed, and longer than the other\n")
    first.send()
    reader.pull_log(GROUP, RUN_ID)
    assert read.read_bytes() == b"first\nsecond\n"


def test_a_second_attempts_log_is_read_whole_also_by_who_has_the_firsts(fleet: Fleet) -> None:
    fleet.a.log().write_bytes(b"the first attempt wrote much more than the second one\n")
    shared_storage.SentRun(fleet.a.settings, fleet.a.store, fleet.a.objects, RUN_ID, 1).send()
    fleet.b.shared.pull_log(GROUP, RUN_ID)
    fleet.b.restart()
    fleet.a.log().write_bytes(b"second\n")
    shared_storage.SentRun(fleet.a.settings, fleet.a.store, fleet.a.objects, RUN_ID, 2).send()
    fleet.b.shared.pull_log(GROUP, RUN_ID)
    assert fleet.b.log().read_bytes() == b"second\n"


def test_an_attempt_on_another_host_goes_on_with_the_log_of_the_one_before(fleet: Fleet) -> None:
    fleet.a.log().write_bytes(b"first\n")
    shared_storage.SentRun(fleet.a.settings, fleet.a.store, fleet.a.objects, RUN_ID, 1).send()
    fleet.b.shared.pull_for_attempt(GROUP, RUN_ID)
    assert fleet.b.log().read_bytes() == b"first\n"


def test_the_log_of_a_run_that_goes_on_here_is_left_alone(fleet: Fleet) -> None:
    fleet.a.log().write_bytes(b"of another attempt, elsewhere\n")
    shared_storage.SentRun(fleet.a.settings, fleet.a.store, fleet.a.objects, RUN_ID, 1).send()
    with run_directory.locked(fleet.b.settings.runs, RUN_ID):
        fleet.b.shared.pull(GROUP)
        fleet.b.shared.pull_log(GROUP, RUN_ID)
    assert not fleet.b.log().exists()


async def test_a_run_goes_on_when_the_store_is_away_and_its_log_is_sent_later(
    fleet: Fleet, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_storage, "LOGS_SECONDS", 0.01)
    fleet.a.objects.is_away = True
    with caplog.at_level(logging.WARNING):
        async with fleet.a.shared.mirrored(run_id=RUN_ID, attempt=1):
            fleet.a.log().write_bytes(b"text\n")
            await asyncio.sleep(0.1)
    assert len(caplog.records) == 2, "once while the run goes on, once at its end"
    assert fleet.a.shared.rounds.failures()["run log"] > 2
    fleet.a.objects.is_away = False
    fleet.a.shared.reconcile()
    fleet.b.shared.pull_log(GROUP, RUN_ID)
    assert fleet.b.log().read_bytes() == b"text\n"


# going away


def test_a_deleted_group_goes_from_the_store_and_from_every_host(fleet: Fleet) -> None:
    fleet.a.account.blob("scripts/a").write_bytes(b"x")
    fleet.a.shared.push_submission(GROUP)
    fleet.b.shared.pull(GROUP)
    row = fleet.a.store.staging.group(GROUP)
    assert row is not None
    assert fleet.b.shared.reconcile() == []
    staging_resource_group.delete(fleet.a.settings.staging, fleet.a.store, row)
    fleet.a.objects.is_away = True
    fleet.a.shared.delete_group(GROUP)
    fleet.a.objects.is_away = False
    assert fleet.b.shared.reconcile() == [f"staging/{GROUP}"]
    assert fleet.a.objects.objects("staging") == []
    assert not (fleet.b.settings.staging / GROUP).exists()
    fleet.a.objects.put(f"staging/{GROUP}/account/scripts/late", b"x")
    fleet.b.shared.pull(GROUP)
    assert not (fleet.b.settings.staging / GROUP).exists()


def test_a_group_on_a_host_that_the_database_never_knew_stays(fleet: Fleet) -> None:
    """As on a machine that built for another database before."""
    other = fleet.b.settings.staging / "IT_before"
    other.mkdir(parents=True)
    (other / "customization.log").write_text("kept")
    assert fleet.b.shared.reconcile() == []
    assert (other / "customization.log").read_text() == "kept"


def test_deleting_a_group_deletes_its_objects_and_no_others(fleet: Fleet) -> None:
    other = f"{GROUP}1"
    staging_resource_group.create(fleet.a.settings.staging, fleet.a.store, name=other, run_id="", tags={})
    for group in (GROUP, other):
        fleet.a.objects.put(f"staging/{group}/account/scripts/a", b"x")
    fleet.a.shared.delete_group(GROUP)
    assert [item.key for item in fleet.a.objects.objects("staging")] == [f"staging/{other}/account/scripts/a"]


def test_who_has_another_database_deletes_nothing(fleet: Fleet, tmp_path: Path) -> None:
    fleet.a.shared.reconcile()
    fleet.a.publish(a_flat_disk(tmp_path / "a"))
    fleet.a.store.runs.move(RUN_ID, expected=["Running"], state=RunState.SUCCEEDED)
    fleet.a.account.blob("scripts/a").write_bytes(b"x")
    fleet.a.shared.push_submission(GROUP)
    before = sorted(path for path in fleet.directory.rglob("*") if path.is_file())
    with opened(tmp_path / "stranger" / "db") as store:
        settings = Settings(tmp_path / "stranger")
        (settings.staging / "IT_other").mkdir(parents=True)
        with pytest.raises(SharedStorageFailed, match="belongs to another database"):
            SharedStorage(settings, store, fleet.a.objects).reconcile()
        assert (settings.staging / "IT_other").is_dir()
    assert sorted(path for path in fleet.directory.rglob("*") if path.is_file()) == before
    assert fleet.directory / DATABASE_MARK in before
    assert fleet.b.shared.reconcile() == []
    assert "" not in fleet.a.store.resources.subscriptions()


def test_a_store_that_lost_all_it_had_is_not_mounted_and_no_empty_one(fleet: Fleet) -> None:
    fleet.a.shared.try_out()
    fleet.b.shared.pull_for_attempt(GROUP, RUN_ID)
    mark = (fleet.directory / DATABASE_MARK).read_text()
    for path in fleet.directory.iterdir():  # what an unmounted directory looks like
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for ask in (
        fleet.a.shared.try_out,
        fleet.b.shared.reconcile,
        lambda: fleet.b.shared.pull_for_attempt(GROUP, RUN_ID),
    ):
        with pytest.raises(SharedStorageFailed, match="lacks the object vmkiln-database") as refused:
            ask()
        assert mark in (refused.value.hint or "")
    assert list(fleet.directory.iterdir()) == []
    (fleet.directory / DATABASE_MARK).write_text(mark)
    fleet.b.shared.pull_for_attempt(GROUP, RUN_ID)


def test_without_an_address_nothing_is_shared(fleet: Fleet) -> None:
    assert shared_storage.shared_storage(fleet.a.settings, fleet.a.store) is None
    settings = replace(fleet.a.settings, object_store=fleet.directory.as_uri())
    assert shared_storage.shared_storage(settings, fleet.a.store) is not None
    shutil.rmtree(fleet.a.settings.home)


# what fails


def a_second_run(fleet: Fleet, run_id: str) -> None:
    group = f"{GROUP}-{run_id}"
    fleet.a.store.runs.add(RunRow(run_id, "web", "rg", {}, "Running", "", "", "", group, {}, utc_now(), None, "/s/t"))
    staging_resource_group.create(fleet.a.settings.staging, fleet.a.store, name=group, run_id=run_id, tags={})


def test_a_log_that_cannot_be_fetched_holds_up_no_other(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("r1", "r2"):
        a_second_run(fleet, name)
    pulled: list[str] = []

    def pull(_group: str, run_id: str, **_: object) -> None:
        if run_id == "r1":
            raise PermissionError(13, "denied")
        pulled.append(run_id)

    monkeypatch.setattr(fleet.b.shared, "_pull_run", pull)
    assert fleet.b.shared._follow_logs(set()) >= {"r1", "r2", RUN_ID}
    assert set(pulled) == {RUN_ID, "r2"}
    assert "shared log of a run r1 failed" in caplog.text


def test_a_group_that_cannot_be_fetched_holds_up_no_other_and_is_tried_again(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_second_run(fleet, "r2")
    pull = fleet.b.shared.pull
    is_broken = [True]

    def broken(group: str) -> None:
        if group == GROUP and is_broken[0]:
            raise PermissionError(13, "denied")
        pull(group)

    monkeypatch.setattr(fleet.b.shared, "pull", broken)
    known = fleet.b.shared._follow_the_rest(set())
    assert known == {f"{GROUP}-r2"}
    is_broken[0] = False
    assert fleet.b.shared._follow_the_rest(known) == {GROUP, f"{GROUP}-r2"}


async def test_a_cancel_before_an_attempt_leaves_nobody_fetching(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is fetched behind it would come back into a group that is deleted meanwhile."""
    for number in range(50):
        script = fleet.a.account.blob(f"scripts/{number:04}-a.sh")
        script.parent.mkdir(parents=True, exist_ok=True)
        script.write_text("true")
    fleet.a.shared.push_submission(GROUP)
    has_begun = threading.Event()
    get_file = fleet.b.objects.get_file

    def slowly(key: str, target: Path, **options: Any) -> None:
        has_begun.set()
        get_file(key, target, **options)

    monkeypatch.setattr(fleet.b.objects, "get_file", slowly)
    task = asyncio.create_task(until_cancelled(fleet.b.shared.pull_for_attempt, GROUP, RUN_ID))
    await asyncio.to_thread(has_begun.wait, SECONDS)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    fetched = len(fleet.b.objects.fetched)
    assert fetched < 50
    await asyncio.sleep(0.2)
    assert len(fleet.b.objects.fetched) == fetched
    await asyncio.wait_for(asyncio.to_thread(fleet.b.shared.pull_for_attempt, GROUP, RUN_ID), SECONDS)
    assert len(list(fleet.b.account.blob("scripts").iterdir())) == 50, "the group is not locked, and nothing is torn"


# a back-up that was restored


def test_objects_that_are_newer_than_a_restored_back_up_are_kept_and_adopted(
    fleet: Fleet, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fleet.a.publish(a_flat_disk(tmp_path / "a"))
    image = fleet.a.image()
    fleet.a.store.runs.move(RUN_ID, expected=["Running"], state=RunState.SUCCEEDED)
    fleet.b.shared.reconcile()
    forget_record(fleet, image)
    for _ in range(3):
        assert fleet.b.shared.reconcile() == []
    assert len([record for record in caplog.records if "vmkiln image quarantine" in record.message]) == 1
    [lost] = fleet.b.shared.images.quarantined()
    assert (lost.artifact_id, lost.digest, lost.detail) == (image.artifact_id, image.digest, image.detail)
    quarantine.adopt(lost, fleet.b.store)
    assert fleet.b.shared.images.quarantined() == []
    image.path.unlink(missing_ok=True)
    assert fleet.b.shared.images.fetch(fleet.b.image()).path.is_file()


def test_what_is_purged_goes_from_the_object_store(fleet: Fleet, tmp_path: Path) -> None:
    fleet.a.publish(a_flat_disk(tmp_path / "a"))
    image = fleet.a.image()
    fleet.a.store.runs.move(RUN_ID, expected=["Running"], state=RunState.SUCCEEDED)
    fleet.b.shared.reconcile()
    forget_record(fleet, image)
    [lost] = fleet.b.shared.images.quarantined()
    quarantine.purge(lost, fleet.b.store)
    fleet.b.shared.images.purge(lost)
    assert fleet.a.objects.objects("images") == []


def test_a_deletion_while_the_store_is_away_leaves_no_quarantine(fleet: Fleet, tmp_path: Path) -> None:
    fleet.a.publish(a_flat_disk(tmp_path / "a"))
    image = fleet.a.image()
    fleet.a.store.runs.move(RUN_ID, expected=["Running"], state=RunState.SUCCEEDED)
    fleet.b.shared.reconcile()
    fleet.a.objects.is_away = True
    fleet.a.store.images.remove(image.artifact_id)
    fleet.a.shared.delete_image(image)
    fleet.a.objects.is_away = False
    assert fleet.b.shared.images.quarantined() == []
    fleet.b.shared.reconcile()
    assert fleet.a.objects.objects("images") == []


def test_objects_of_runs_and_groups_that_the_records_never_knew_are_kept(fleet: Fleet) -> None:
    keys = ["images/ffffffff-0000-0000-0000-000000000000/0001/aa.qcow2", "staging/IT_newer/account/scripts/a"]
    for key in keys:
        fleet.a.objects.put(key, b"newer")
    assert fleet.b.shared.reconcile() == []
    assert [item.key for item in fleet.a.objects.objects("")] == sorted([*keys, DATABASE_MARK])


def forget_record(fleet: Fleet, image: ImageRow) -> None:
    """As the back-up of an hour ago knew nothing of it."""
    fleet.a.store.connections.change(images.delete().where(images.c.key == image.key))
