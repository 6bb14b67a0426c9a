"""The database."""

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from open_files import open_files
from postgresql import Cluster, cluster
from publishing import warm_processes

from vmkiln.errors import DatabaseAway, ImageConflict, InputError, RunTakenOver, StorageFailed, VmkilnError
from vmkiln.store import database, engine
from vmkiln.store.database import opened
from vmkiln.store.rows import ImageDefinitionRow, ImageRow, RunOutputRow, RunRow

Place = Path | str
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    with cluster() as found:
        yield found


@pytest.fixture(params=["SQLite", "PostgreSQL"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """An empty database of each kind."""
    if request.param == "SQLite":
        return tmp_path / "db"
    return str(request.getfixturevalue("server").new_database())


def a_run(run_id: str = "11111111-0000") -> RunRow:
    return RunRow(run_id, "hello", "rg", {"a": 1}, "Running", "", "", "", "", {}, NOW, None)


def an_image(artifact_id: str = "/Images/X", digest: str = "0" * 64) -> ImageRow:
    path = Path("/images/x.qcow2")
    return ImageRow(artifact_id, "ManagedImage", path, "qcow2", digest, 1, 2, 1, "Linux", "", "r", {}, {}, NOW)


def test_the_file_is_private(tmp_path: Path) -> None:
    with opened(tmp_path / "state" / "db"):
        assert (tmp_path / "state" / "db").stat().st_mode & 0o777 == 0o600


def test_a_run_survives_reopening(place: Place) -> None:
    with opened(place) as store:
        store.runs.add(a_run())
    with opened(place) as store:
        assert store.runs.find("11111111-0000") == a_run()


def test_a_run_is_found_by_the_beginning_of_its_id(place: Place) -> None:
    with opened(place) as store:
        store.runs.add(a_run("aa-1"))
        store.runs.add(a_run("ab-1"))
        assert store.runs.find("aa").run_id == "aa-1"
        for text in ("a", "zz", "", "%"):
            with pytest.raises(InputError):
                store.runs.find(text)


def test_only_one_process_ends_a_run(place: Place) -> None:
    with opened(place) as store:
        store.runs.add(a_run())
        assert store.runs.move("11111111-0000", expected=["Running"], state="Succeeded")
        assert not store.runs.move("11111111-0000", expected=["Running"], state="Failed")
        assert store.runs.find("11").state == "Succeeded"
        assert store.runs.find("11").ended is not None


def test_phases_follow_each_other_without_a_gap(place: Place) -> None:
    with opened(place) as store:
        store.runs.add(a_run())
        store.runs.begin_phase("11111111-0000", "Building")
        store.runs.begin_phase("11111111-0000", "Customizing")
        building, customizing = store.runs.phases_of("11111111-0000")
        assert building.ended is not None
        assert customizing.ended is None
        assert store.runs.find("11").sub_state == "Customizing"
        assert store.runs.move("11111111-0000", expected=["Running"], state="Succeeded")
        assert store.runs.phases_of("11111111-0000")[1].ended is not None


def test_a_resource_is_recorded_before_it_exists_and_after_it_is_gone(place: Place) -> None:
    with opened(place) as store:
        store.runs.add(a_run())
        store.staging.add_group("IT_a", run_id="11111111-0000", storage_account="s", tags={})
        number = store.staging.add_resource("IT_a", run_id="11111111-0000", type="t", name="n", detail={})
        states = [store.staging.resources_of("IT_a")[0].state]
        store.staging.resource_exists(number)
        states.append(store.staging.resources_of("IT_a")[0].state)
        store.staging.resource_deleted(number)
        states.append(store.staging.resources_of("IT_a")[0].state)
        assert states == ["creating", "exists", "deleted"]


def test_a_deleted_group_leaves_no_resource(place: Place) -> None:
    with opened(place) as store:
        store.runs.add(a_run())
        store.staging.add_group("IT_a", run_id="11111111-0000", storage_account="s", tags={})
        store.staging.add_resource("IT_a", run_id="11111111-0000", type="t", name="n", detail={})
        store.staging.group_deleted("IT_a")
        assert store.staging.list_groups() == []
        assert store.staging.resources_of("IT_a")[0].state == "deleted"


def test_image_ids_do_not_tell_upper_from_lower_case(place: Place) -> None:
    with opened(place) as store:
        store.images.add(an_image("/Images/X"))
        assert store.images.find("/images/x") == an_image("/Images/X")
        with pytest.raises(ImageConflict):
            store.images.add(an_image("/IMAGES/x"))


def test_replacing_an_image_gives_the_old_one_back(place: Place) -> None:
    with opened(place) as store:
        assert store.images.replace(an_image(digest="a" * 64)) is None
        old = store.images.replace(an_image(digest="b" * 64))
        assert old is not None
        assert old.digest == "a" * 64
        assert [image.digest for image in store.images.list()] == ["b" * 64]


def test_a_run_output_is_recorded_once(place: Place) -> None:
    with opened(place) as store:
        store.runs.add(a_run())
        store.images.put_output(RunOutputRow("11111111-0000", "out", "", "", "Creating", ""))
        store.images.put_output(RunOutputRow("11111111-0000", "out", "/x", "", "Succeeded", ""))
        assert [row.state for row in store.images.outputs_of("11111111-0000")] == ["Succeeded"]


def _add_facts(path: Place, name: str) -> None:
    with opened(path) as store:
        for number in range(10):
            store.runs.add_facts("11111111-0000", **{f"{name}{number}": number})


def test_processes_do_not_lose_each_others_changes(place: Place) -> None:
    with opened(place) as store:
        store.runs.add(a_run())
        context = warm_processes()
        workers = [context.Process(target=_add_facts, args=(place, name)) for name in ("a", "b")]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert len(store.runs.find("11").facts) == 20


def _begin_then_end(path: Place, gate: Any, wins: Any) -> None:
    gate.wait()
    with opened(path) as store:
        if store.runs.move("11111111-0000", expected=["Running"], state="Canceled"):
            with wins.get_lock():
                wins.value += 1


def test_of_many_processes_that_open_a_new_database_and_end_a_run_one_wins(place: Place) -> None:
    context = warm_processes()
    gate, wins = context.Barrier(6), context.Value("i", 0)
    with opened(place) as store:
        store.runs.add(a_run())
    workers = [context.Process(target=_begin_then_end, args=(place, gate, wins)) for _ in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 6
    assert wins.value == 1


def _open_new(path: Place, gate: Any) -> None:
    gate.wait()
    with opened(path) as store:
        assert store.runs.list() == []


def test_many_processes_can_make_the_database_at_once(tmp_path: Path) -> None:
    context = warm_processes()
    for number in range(5):
        gate = context.Barrier(6)
        path = tmp_path / str(number) / "db"
        workers = [context.Process(target=_open_new, args=(path, gate)) for _ in range(6)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert [worker.exitcode for worker in workers] == [0] * 6


def test_who_reads_does_not_wait_for_who_writes(tmp_path: Path) -> None:
    with opened(tmp_path / "db") as store:
        store.runs.add(a_run())
        writer = sqlite3.connect(tmp_path / "db", isolation_level=None)
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("UPDATE vmkiln_run SET state = 'Failed'")
        # a wait would end, after BUSY_SECONDS, with an error
        assert store.runs.find("11").state == "Running"
        assert [run.state for run in store.runs.list()] == ["Running"]
        writer.execute("COMMIT")
        writer.close()
        assert store.runs.find("11").state == "Failed"


def test_what_a_thread_uses_while_the_store_closes_is_closed_afterwards(tmp_path: Path) -> None:
    with opened(tmp_path / "db") as store:
        used = store.connections.writing.connect()
        used.exec_driver_sql("SELECT 1")
    used.close()
    with pytest.raises(InputError):  # a thread that comes later still
        store.runs.find("11")
    assert [name for name in open_files() if name.startswith(str(tmp_path))] == []


def test_times_are_by_the_clock_that_was_handed_in(place: Place) -> None:
    with opened(place, clock=lambda: NOW) as store:
        store.runs.add(a_run())
        store.runs.begin_phase("11111111-0000", "Building")
        store.runs.move("11111111-0000", expected=["Running"], state="Succeeded")
        assert store.now() == NOW
        assert store.runs.phases_of("11111111-0000")[0].started == NOW
        assert store.runs.find("11").ended == NOW


def test_every_commit_is_on_disk_and_foreign_keys_hold(tmp_path: Path) -> None:
    with opened(tmp_path / "db") as store:
        with pytest.raises(sa.exc.IntegrityError):
            store.images.put_output(RunOutputRow("no-such-run", "out", "", "", "Creating", ""))
        with store.connections.writing.connect() as connection:
            settings = {
                name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                for name in ("journal_mode", "synchronous", "foreign_keys")
            }
    assert settings == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


def a_version(version: str, *, generation: int = 1) -> ImageRow:
    return replace(an_image(f"/galleries/G/images/D/versions/{version}"), generation=generation)


def test_an_image_definition_lasts_from_its_first_version_to_its_last(place: Place) -> None:
    definition = "/galleries/G/images/D"
    with opened(place, clock=lambda: NOW) as store:
        assert store.images.definition(definition) is None
        store.images.add_version(a_version("1.0.0"), definition_id=definition)
        store.images.add_version(a_version("1.0.1"), definition_id=definition.lower())
        assert store.images.definitions() == [ImageDefinitionRow(definition, "Linux", 1, NOW)]
        with pytest.raises(ImageConflict, match="generation 1 for x64, but this image is Linux generation 2"):
            store.images.add_version(a_version("1.0.2", generation=2), definition_id=definition)
        with pytest.raises(ImageConflict, match="exists already"):
            store.images.add_version(a_version("1.0.1"), definition_id=definition)
        store.images.remove(a_version("1.0.0").key)
        assert store.images.definition(definition.upper()) is not None
        store.images.remove(a_version("1.0.1").artifact_id)
        assert store.images.definitions() == []


def test_a_refused_version_leaves_no_definition(place: Place) -> None:
    with opened(place) as store:
        store.images.add(an_image("/x"))
        with pytest.raises(ImageConflict):
            store.images.add_version(an_image("/x"), definition_id="/galleries/G/images/D")
        assert store.images.definitions() == []


def test_a_newer_database_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path / "db"):
        pass
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'db'}")
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE vmkiln_revision SET version_num = '9999'")
    engine.dispose()
    with pytest.raises(VmkilnError, match="newer"), opened(tmp_path / "db"):
        pass


def test_a_damaged_database_is_said_to_be_so(tmp_path: Path) -> None:
    (tmp_path / "db").write_bytes(b"not a database" * 1000)
    with pytest.raises(VmkilnError, match="cannot be used"), opened(tmp_path / "db"):
        pass


def test_a_database_whose_folder_cannot_be_synced_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(path: Path) -> None:
        raise OSError(5, "Input/output error", str(path))

    monkeypatch.setattr(database, "sync", broken)
    with pytest.raises(StorageFailed, match="Input/output error"), opened(tmp_path / "db"):
        pass


def test_a_url_that_is_none_is_refused_without_its_password() -> None:
    for url in ("mysql://u:hidden@h/d", "hidden", "postgresql+asyncpg://u:hidden@h/d"):
        with pytest.raises(InputError) as refused, opened(url):
            pass
        assert "hidden" not in str(refused.value)


def test_a_database_that_is_away_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "PATIENCE_SECONDS", 0.5)
    with pytest.raises(VmkilnError, match="cannot be used") as refused, opened("postgresql://u:hidden@127.0.0.1:1/d"):
        pass
    assert "hidden" not in str(refused.value)


def test_postgresql_ends_a_transaction_whose_process_stands_still(
    server: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "IDLE_SECONDS", 1)
    url = server.new_database()
    frozen = engine.make_engine(url)
    with opened(url) as store:
        store.runs.add(a_run())
        connection = frozen.connect()
        connection.begin()  # it holds the write lock now, and does nothing
        store.runs.add_facts("11111111-0000", waited=True)
        with pytest.raises(DatabaseAway, match="idle-in-transaction"):
            connection.exec_driver_sql("SELECT 1")
        connection.invalidate()
        frozen.dispose()
        assert store.runs.find("11").facts == {"waited": True}


def recorded(place: Place, query: str) -> list[str]:
    """What stands in the database, as it stands there."""
    made = engine.make_engine(place)
    with made.connect() as connection:
        found = [str(item) for item in connection.execute(sa.text(query)).scalars()]
    made.dispose()
    return found


def test_paths_of_the_state_directory_are_good_everywhere_it_moves(place: Place, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there b"
    inside, outside = here / "images/x/disk.qcow2", Path("/elsewhere/x.qcow2")
    vhd = here / "staging/IT_(a)/account/vhds/x y.vhd"
    with opened(place, home=here) as store:
        store.runs.add(a_run())
        store.images.add(replace(an_image("/one"), path=inside))
        store.images.replace(replace(an_image("/two"), path=outside))
        store.images.put_output(RunOutputRow("11111111-0000", "vhd", "", vhd.as_uri(), "Succeeded", ""))
        store.images.put_output(RunOutputRow("11111111-0000", "image", "/one", "", "Succeeded", ""))
        assert {image.path for image in store.images.list()} == {inside, outside}
    assert sorted(recorded(place, "SELECT path FROM vmkiln_image")) == ["/elsewhere/x.qcow2", "images/x/disk.qcow2"]
    with opened(place, home=there) as store:
        image = store.images.find("/one")
        assert image is not None
        assert image.path == there / "images/x/disk.qcow2"
        assert [row.path for row in store.images.of_run("r")] == [image.path, outside]
        uris = [row.artifact_uri for row in store.images.outputs_of("11111111-0000")]
        assert uris == ["", (there / "staging/IT_(a)/account/vhds/x y.vhd").as_uri()]
        moved = store.images.replace(image)
        assert moved == image


def test_paths_that_an_older_version_recorded_are_read_as_they_are(place: Place, tmp_path: Path) -> None:
    home = tmp_path / "home"
    old = home / "images/x/disk.qcow2"
    with opened(place) as store:
        store.runs.add(a_run())
        store.images.add(replace(an_image(), path=Path("/images/y.qcow2")))
    made = engine.make_engine(place)
    with made.begin() as connection:
        connection.execute(sa.text("UPDATE vmkiln_image SET path = :path"), {"path": str(old)})
        connection.execute(
            sa.text("INSERT INTO vmkiln_run_output VALUES ('11111111-0000', 'vhd', '', :uri, 'Succeeded', '')"),
            {"uri": old.as_uri()},
        )
    made.dispose()
    with opened(place, home=home) as store:
        assert store.images.list()[0].path == old
        assert store.images.outputs_of("11111111-0000")[0].artifact_uri == old.as_uri()


@pytest.mark.parametrize("record", ["add", "add_version", "replace"])
def test_an_attempt_that_lost_its_run_records_no_image(place: Place, record: str) -> None:
    def recording(attempt: int | None, name: str) -> None:
        more = {"definition_id": "/def"} if record == "add_version" else {}
        getattr(store.images, record)(replace(an_image(name), run_id="11111111-0000"), attempt=attempt, **more)

    with opened(place) as store:
        recording(1, "/of-a-run-that-is-not-recorded")
        store.runs.add(replace(a_run(), template_id="/t"))
        recording(1, "/first")
        assert store.runs.requeue("11111111-0000", most_attempts=5)
        with pytest.raises(RunTakenOver):
            recording(1, "/thawed")
        recording(2, "/second")
        store.runs.move("11111111-0000", expected=["Queued"], state="Canceled")
        with pytest.raises(RunTakenOver):
            recording(2, "/late")
        recording(None, "/by-hand")
        names = {image.artifact_id for image in store.images.list()}
        assert names == {"/of-a-run-that-is-not-recorded", "/first", "/second", "/by-hand"}


def test_a_run_is_no_operation_that_is_open(place: Place) -> None:
    with opened(place) as store:
        common = {"subscription_id": "s", "location": "local", "resource_id": "/t"}
        opened_one = store.operations.begin("provision", **common)
        store.operations.begin("run", run_id="11111111-0000", **common)
        assert store.operations.open_ones() == [opened_one]
        assert store.operations.open_ones("/T") == [opened_one]


@pytest.mark.parametrize("how", ["its host died", "its service stopped"])
def test_a_run_that_waits_again_waits_where_it_was_and_keeps_its_group(place: Place, how: str) -> None:
    """Its start used to be written over when it began, so that whoever came meanwhile was before it."""
    first = replace(a_run("first"), state="Queued", staging_group="IT_a", template_id="/subscriptions/s/t1")
    second = replace(first, run_id="second", template_id="/subscriptions/s/t2", started=NOW + timedelta(seconds=5))
    with opened(place) as store:
        assert store.runs.queue(first)
        assert store.runs.queue(second)
        begun = replace(first, state="Running", staging_group="", facts={}, started=NOW + timedelta(seconds=60))
        assert store.runs.start(begun)
        going_on = store.runs.find("first")
        assert going_on.staging_group == "IT_a"
        assert going_on.started == begun.started
        if how == "its host died":
            assert store.runs.end_lost(going_on, most_attempts=9) == "Queued"
        else:
            assert store.runs.requeue("first", most_attempts=9)
        assert [waiting.run_id for waiting in store.queue.waiting()] == ["first", "second"]
        assert store.runs.find("first").started == NOW
