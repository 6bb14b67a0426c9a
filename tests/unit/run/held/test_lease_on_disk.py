"""A lease is there until its time is over, and gone after that, whoever died meanwhile."""

import asyncio
import contextlib
import json
import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from vmkiln import preparation
from vmkiln.audit.act_names import RUN_RELEASE
from vmkiln.cli.main import app
from vmkiln.errors import InputError, KeyUnavailable
from vmkiln.host.host_id import host_id
from vmkiln.host.qemu import Accelerator, Disk, Firmware, Machine
from vmkiln.run.cleaning_up import end_leftovers
from vmkiln.run.held import door, lease, releasing, sealing, waking
from vmkiln.run.held.lease import Contents
from vmkiln.run_state import RunState
from vmkiln.sealing.key_ring import Purpose, new_secret
from vmkiln.settings import Settings
from vmkiln.staging import run_directory
from vmkiln.staging.virtual_network import decide
from vmkiln.store.audit_table import AuditQuery
from vmkiln.store.database import Store, opened, utc_now
from vmkiln.store.rows import RunRow

RUN = "0123abcd-0000-0000-0000-000000000000"
NOW = 1.9e9
MACHINE = Machine(
    "build-vm",
    Accelerator.TCG,
    2,
    512,
    (
        Disk(Path("os"), "qcow2", backing=Disk(Path("base"), "qcow2", backing=Disk(Path("root"), "raw"))),
        Disk(Path("seed"), "raw", read_only=True),
    ),
    "tap",
    "02:00:00:00:00:01",
    Path("/run/console"),
    Path("/run/control"),
    boot=Firmware(Path("/usr/share/code.fd"), Path("vars")),
    is_saveable=True,
    boots_plugged_in=True,
)
CONTENTS = Contents(MACHINE, decide((), is_windows=False), "the private key", {"memory": "00"})


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(tmp_path / "home")


@pytest.fixture
def store(settings: Settings, tmp_path: Path) -> Iterator[Store]:
    settings.home.mkdir()
    with opened(settings.database, keys=tmp_path / "keys") as store:
        yield store


def a_run(store: Store, run_id: str = RUN, template_id: str = "") -> None:
    row = RunRow(run_id, "web", "rg", {}, RunState.FAILED, "", "", "", "", {}, utc_now(), utc_now(), template_id)
    store.runs.add(row)


def leased(settings: Settings, store: Store, run_id: str = RUN, *, until: float = NOW, generation: int = 1) -> Path:
    folder = lease.folder_of(settings, run_id)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"memory.{generation}").write_bytes(b"sealed")
    (folder / "below0-0").write_bytes(b"source")
    lease.written(folder, CONTENTS, store, until=until, generation=generation)
    on_record(store, run_id, host_id(settings))
    return folder


def on_record(store: Store, run_id: str, host: str, **more: Any) -> None:
    """Record that this host has the failed VM of a run."""
    fact: Any = {"until": "2099-01-01T00:00:00+00:00", "size_mib": 1, "host_id": host, **more}
    store.runs.add_facts(run_id, lease=fact)


def test_what_is_in_a_lease_comes_back_and_only_with_the_keys(settings: Settings, store: Store, tmp_path: Path) -> None:
    a_run(store)
    folder = leased(settings, store)
    assert b"private" not in (folder / lease.RECORD).read_bytes()
    found = lease.found(settings, RUN, now=NOW - 1)
    assert found is not None
    assert lease.opened(found, store) == CONTENTS
    assert store.runs.find(RUN).held_until == "2099-01-01T00:00:00+00:00", "though it has ended"
    with opened(settings.database, keys=tmp_path / "others") as other, pytest.raises(KeyUnavailable):
        lease.opened(found, other)
    with pytest.raises(KeyUnavailable):
        lease.opened(replace(found, run_id="another"), store)


def test_a_lease_of_another_release_is_told_with_what_to_do(settings: Settings, store: Store) -> None:
    a_run(store)
    folder = leased(settings, store)
    record = json.loads((folder / lease.RECORD).read_text())
    record["sealed"] = store.seal.sealed({"machine": "of another form"}, place=f"failed VM of run {RUN}")
    (folder / lease.RECORD).write_text(json.dumps(record))
    found = lease.found(settings, RUN, now=NOW - 1)
    assert found is not None
    with pytest.raises(InputError, match="another release"):
        lease.opened(found, store)


def test_a_lease_is_deleted_when_its_time_is_over_and_not_before(settings: Settings, store: Store) -> None:
    a_run(store)
    folder = leased(settings, store)
    assert lease.remove_over(settings, store, now=NOW - 1) == {}
    assert lease.found(settings, RUN, now=NOW - 1) is not None
    assert lease.found(settings, RUN, now=NOW) is None, "nobody enters it any more"
    with run_directory.locked(settings.runs, RUN):
        assert lease.remove_over(settings, store, now=NOW) == {}, "somebody is in, and ends it himself"
        assert folder.exists()
    assert lease.remove_over(settings, store, now=NOW) == {RUN: "its time is over"}
    assert not folder.exists()
    assert store.runs.find(RUN).held_until == ""
    assert list(settings.runs.iterdir()) == [], "and no lock stays"


def test_the_next_command_deletes_what_is_over_and_what_the_dead_left(settings: Settings, store: Store) -> None:
    a_run(store)
    a_run(store, "over")
    folder = leased(settings, store, until=4e9)
    (folder / "memory.2").write_bytes(b"of one who died as it was saved again")
    leased(settings, store, "over", until=1)
    unfinished = lease.folder_of(settings, "unfinished")
    unfinished.mkdir()
    (unfinished / "memory.1").write_bytes(b"of one who died as it was saved")
    told: list[str] = []
    end_leftovers(settings, store, told.append)
    assert [path.name for path in settings.leases.iterdir()] == [RUN]
    assert sorted(path.name for path in folder.iterdir()) == ["below0-0", "memory.1", lease.RECORD]
    assert told == ["the failed VM of run over is not held any more: its time is over"]


def test_a_lease_that_cannot_be_deleted_keeps_no_other_one_from_its_end(
    settings: Settings, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for run_id in ("first", "second", "third"):
        a_run(store, run_id)
        leased(settings, store, run_id, until=1)
    unread, undeleted = (lease.folder_of(settings, run_id) for run_id in ("first", "second"))
    (unread / lease.RECORD).unlink()
    (unread / lease.RECORD).mkdir()  # whatever the reason, the system does not give its content
    iterdir = Path.iterdir

    def refused(folder: Path) -> Iterator[Path]:
        if folder == undeleted:
            raise PermissionError
        return iterdir(folder)

    monkeypatch.setattr(Path, "iterdir", refused)
    with pytest.raises(IsADirectoryError):
        lease.remove_over(settings, store, now=NOW)
    monkeypatch.undo()
    assert sorted(path.name for path in settings.leases.iterdir()) == ["first", "second"]
    assert (unread / "memory.1").exists(), "what may be a lease is none that a maker left who died"
    assert lease.found(settings, "first", now=0) is None


def test_a_vm_that_is_on_record_is_not_thrown_away_for_what_came_after(settings: Settings, store: Store) -> None:
    a_run(store)
    folder = leased(settings, store)
    (folder / "memory.2").write_bytes(b"half")
    sealing._thrown_away(folder, 2)
    assert sorted(path.name for path in folder.glob("memory.*")) == ["memory.1"], "the lease is as it was"
    leased(settings, store, generation=2)
    sealing._thrown_away(folder, 2)
    assert sorted(path.name for path in folder.glob("memory.*")) == ["memory.2"], "there is no other one any more"


def test_a_second_visitor_is_told_so_and_does_not_wait(
    settings: Settings, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waking, "LOCK_SECONDS", 0.1)
    host: Any = SimpleNamespace(settings=settings, store=store)

    async def enter() -> None:
        async with asyncio.timeout(30), waking.woken(host, RUN, print):
            pass

    with run_directory.locked(settings.runs, RUN), pytest.raises(InputError, match="somebody is in"):
        asyncio.run(enter())
    monkeypatch.setattr(waking, "LOCK_SECONDS", 60)
    begun, freed = threading.Event(), threading.Event()

    def clean_up() -> None:
        with run_directory.locked_if_free(settings.runs, RUN):
            begun.set()
            freed.wait(60)

    cleaning = threading.Thread(target=clean_up)
    cleaning.start()
    begun.wait(60)
    monkeypatch.setattr(waking.time, "sleep", lambda _seconds: freed.set())
    with pytest.raises(InputError, match="is not held"):  # who cleans up is gone in a moment: it looks for the lease
        asyncio.run(enter())
    assert freed.is_set()
    cleaning.join()


def test_who_enters_waits_for_the_end_of_the_run_and_for_no_other_visitor(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def entered() -> None:
        async with asyncio.timeout(30):
            await waking.run_ended(settings, RUN)

    async def behind_the_run() -> None:
        with run_directory.locked(settings.runs, RUN):
            waiting = asyncio.create_task(entered())
            await asyncio.sleep(0.2)
            assert not waiting.done()
        await waiting

    asyncio.run(behind_the_run())
    with run_directory.locked(settings.runs, RUN):
        with monkeypatch.context() as patch:
            patch.setattr(waking, "ENDING_SECONDS", 0.1)
            with pytest.raises(InputError, match="goes on"):
                asyncio.run(entered())
        monkeypatch.setattr(waking.door, "is_held", lambda _folder: True)
        with pytest.raises(InputError, match="somebody is in"):
            asyncio.run(entered())


def test_a_lease_that_is_being_made_is_left_alone(settings: Settings, store: Store) -> None:
    folder = lease.folder_of(settings, RUN)
    folder.mkdir(parents=True)
    with run_directory.locked(settings.runs, RUN):
        end_leftovers(settings, store, print)
        assert folder.exists()
    end_leftovers(settings, store, print)
    assert not folder.exists()


def test_after_a_rotation_a_lease_opens_with_the_new_key_alone(settings: Settings, store: Store) -> None:
    for run_id in (RUN, "entered", "lost"):
        a_run(store, run_id)
        leased(settings, store, run_id)
    spoilt = lease.folder_of(settings, "lost") / lease.RECORD
    spoilt.write_bytes(spoilt.read_bytes().replace(b"v1.", b"v1.another"))
    before = spoilt.read_bytes()
    ring = store.seal.ring
    ring.rotate(Purpose.SECRETS, new_secret)
    with run_directory.locked(settings.runs, "entered"):
        assert lease.reseal(settings, store) == (1, ["entered"])
    assert spoilt.read_bytes() == before, "what no key opens is left as it is"
    assert lease.reseal(settings, store) == (1, []), "and nothing is sealed twice"
    ring.forget_older(Purpose.SECRETS)
    for run_id in (RUN, "entered"):
        found = lease.found(settings, run_id, now=NOW - 1)
        assert found is not None
        assert (found.until, found.generation) == (NOW, 1)
        assert lease.opened(found, store) == CONTENTS


def test_older_keys_stay_while_somebody_is_in_what_they_seal(
    settings: Settings, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VMKILN_HOME", str(settings.home))
    monkeypatch.setenv("VMKILN_KEYS", str(tmp_path / "keys"))
    a_run(store)
    leased(settings, store, until=4e9)
    rotate = ["key", "rotate", "secrets", "--forget-older"]
    with run_directory.locked(settings.runs, RUN):
        refused = CliRunner().invoke(app, rotate)
    assert isinstance(refused.exception, InputError)
    assert "somebody is in the failed VM" in str(refused.exception)
    assert CliRunner().invoke(app, rotate).exit_code == 0
    assert len(store.seal.ring.keys(Purpose.SECRETS)) == 1
    found = lease.found(settings, RUN)
    assert found is not None
    assert lease.opened(found, store) == CONTENTS


def test_the_leases_of_a_deleted_template_go_with_it(settings: Settings, store: Store) -> None:
    for run_id, template in (("mine", "/subscriptions/s/t"), ("others", "/subscriptions/s/u")):
        a_run(store, run_id, template)
        leased(settings, store, run_id, until=4e9)
    lease.forget_of(settings, store, "/subscriptions/S/t")
    assert [path.name for path in settings.leases.iterdir()] == ["others"]


def test_every_file_of_a_machine_has_a_place_in_a_lease_and_finds_back() -> None:
    own, below = lease.own_files(MACHINE), lease.files_below(MACHINE)
    assert set(own) == {"disk0", "disk1", lease.VARIABLES}
    assert set(below) == {"below0-0", "below0-1"}
    elsewhere = lease.placed(MACHINE, {name: Path("x") / name for name in own}, {name: Path(name) for name in below})
    assert elsewhere != MACHINE
    assert lease.placed(elsewhere, own, below) == MACHINE


def release(run_id: str) -> Result:
    return CliRunner().invoke(app, ["run", "release", run_id, "--json"])


def test_a_released_vm_is_deleted_at_once_and_that_is_on_record(
    settings: Settings, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VMKILN_HOME", str(settings.home))
    monkeypatch.setenv("VMKILN_KEYS", str(tmp_path / "keys"))
    a_run(store)
    folder = leased(settings, store, until=4e9)
    assert json.loads(release(RUN).stdout) == {"released": RUN, "deleted": True, "host": None}
    assert not folder.exists()
    assert store.runs.find(RUN).held_until == ""
    query = AuditQuery("", utc_now() - timedelta(hours=1), utc_now() + timedelta(hours=1))
    assert [(act.operation, act.status) for act in store.audit.find(query, limit=5)] == [(RUN_RELEASE, "Succeeded")]
    again = release(RUN)
    assert isinstance(again.exception, InputError)
    assert "is not held" in str(again.exception)


def test_who_asks_on_another_host_is_told_where_the_vm_lies(
    settings: Settings, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VMKILN_HOME", str(settings.home))
    a_run(store)
    on_record(store, RUN, "another")
    told = CliRunner().invoke(app, ["run", "shell", RUN]).exception
    assert isinstance(told, InputError)
    assert "lies on another host, another" in str(told)
    assert told.hint is not None
    assert told.hint.startswith("run the same command on another, or log in")


def test_a_vm_of_another_host_is_released_from_here_and_deleted_there(
    settings: Settings, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its host, by another state directory here, deletes it with its next clean-up, and who is in is shown out."""
    a_run(store)
    folder, another = leased(settings, store, until=4e9), host_id(settings)
    monkeypatch.setenv("VMKILN_HOME", str(tmp_path / "here"))
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(preparation, "opened_store", lambda *_: contextlib.nullcontext(store))
        said = CliRunner().invoke(app, ["run", "release", RUN])
        assert f"its host, {another}, deletes it when it is at work again" in said.stderr
        assert store.runs.find(RUN).held_until == "", "nobody is let in any more"
        on_record(store, RUN, another)
        assert json.loads(release(RUN).stdout) == {"released": RUN, "deleted": False, "host": another}
    query = AuditQuery("", utc_now() - timedelta(hours=1), utc_now() + timedelta(hours=1))
    assert [(act.operation, act.status) for act in store.audit.find(query, limit=5)] == [(RUN_RELEASE, "Succeeded")] * 2
    shown_out: list[bytes] = []
    woken = run_directory.folder_of_woken(settings.runs, RUN)
    with monkeypatch.context() as inside:
        inside.setattr(door, "is_held", lambda folder: folder == woken)
        inside.setattr(door, "knock", lambda _folder, word, **_: shown_out.append(word) or socket.socket())
        with run_directory.locked(settings.runs, RUN):
            assert lease.remove_over(settings, store) == {}
    assert shown_out == [door.RELEASE]
    assert folder.exists()
    assert lease.remove_over(settings, store) == {RUN: "it was released on another host"}
    assert not folder.exists()
    assert store.runs.find(RUN).facts.get("lease") is None


def test_a_release_is_meant_for_the_host_on_record_and_no_earlier_one(settings: Settings, store: Store) -> None:
    """A host that died before it recorded the end of its attempt has one; another host has that of the next."""
    a_run(store)
    folder = leased(settings, store, until=4e9)
    on_record(store, RUN, "a later holder", released=True)
    assert lease.remove_over(settings, store) == {}
    assert folder.exists()
    lease.forget(settings, store, RUN)
    assert not folder.exists()
    fact = store.runs.find(RUN).facts["lease"]
    assert fact is not None
    assert fact["host_id"] == "a later holder", "that one is there still, and is to be deleted"


def test_a_release_that_comes_too_late_lets_no_other_vm_go(settings: Settings, store: Store) -> None:
    a_run(store)
    on_record(store, RUN, "the first holder")
    seen = store.runs.find(RUN)
    on_record(store, RUN, "a later holder")
    with pytest.raises(InputError, match="not the one any more"):
        releasing.ask_release(store, seen)
    assert store.runs.find(RUN).held_until == "2099-01-01T00:00:00+00:00"


def test_a_vm_that_was_released_elsewhere_is_woken_for_nobody(settings: Settings, store: Store) -> None:
    a_run(store)
    leased(settings, store, until=4e9)
    on_record(store, RUN, host_id(settings), released=True)
    host: Any = SimpleNamespace(settings=settings, store=store)

    async def enter() -> None:
        async with asyncio.timeout(30), waking.woken(host, RUN, print):
            pass

    with pytest.raises(InputError, match="is not held"):
        asyncio.run(enter())
    with pytest.raises(InputError, match="is not held"), waking.disks_of(settings, store, RUN):
        pass


def test_a_visit_that_does_not_answer_holds_up_no_clean_up(
    settings: Settings, store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    a_run(store)
    folder = leased(settings, store, until=4e9)
    on_record(store, RUN, host_id(settings), released=True)
    woken = run_directory.folder_of_woken(settings.runs, RUN)
    woken.mkdir(parents=True)
    (woken / door.KEY).touch()
    monkeypatch.setattr(releasing, "SHOW_OUT_SECONDS", 0.1)
    monkeypatch.setattr(door, "ANSWER_SECONDS", 60)
    descriptor = os.open(woken, os.O_PATH)
    with run_directory.locked(settings.runs, RUN), socket.socket(socket.AF_UNIX) as mute:
        mute.bind(f"/proc/self/fd/{descriptor}/{door.SOCKET}")
        os.close(descriptor)
        mute.listen()
        assert lease.remove_over(settings, store) == {}
        assert "does not answer" in caplog.text
        caplog.clear()
        mute.close()
        assert lease.remove_over(settings, store) == {}
        assert caplog.text == "", "one that ended just now is left"
    assert folder.exists()
