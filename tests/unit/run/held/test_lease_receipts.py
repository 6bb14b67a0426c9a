"""A failed VM is kept once: sealed, with a receipt that says until when it was there, or its disk where it is not."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from vmkiln.audit.act_names import RUN_SHELL
from vmkiln.azure_names import VIRTUAL_MACHINE
from vmkiln.cli.commands.images import image as image_commands
from vmkiln.cli.commands.runs import leave
from vmkiln.cli.main import app
from vmkiln.errors import ArmError, DatabaseAway, InputError
from vmkiln.host.host_id import host_id
from vmkiln.host.qemu import Accelerator, Disk, Firmware, Machine
from vmkiln.host.saved import sealed_copy
from vmkiln.receipts.receipt import receipts_of
from vmkiln.run import cleaning_up
from vmkiln.run.final_disk import proving
from vmkiln.run.held import lease, waking
from vmkiln.run_state import RunState
from vmkiln.settings import Settings
from vmkiln.staging import run_directory, staging_resource_group
from vmkiln.staging.virtual_network import decide
from vmkiln.store.audit_table import AuditQuery
from vmkiln.store.database import Store, opened, utc_now
from vmkiln.store.rows import ResourceState, RunRow
from vmkiln.template.image_template import OnError

RUN, GROUP = "0123abcd-0000-0000-0000-000000000000", "IT_rg_web_1"
NAMES = ("disk0", "disk1", "disk2", lease.VARIABLES)
MACHINE = Machine(
    "build-vm",
    Accelerator.TCG,
    2,
    512,
    (
        Disk(Path("disk0"), "qcow2", backing=Disk(Path("below0-0"), "qcow2", read_only=True)),
        Disk(Path("disk1"), "raw", read_only=True, is_disc=True),
        Disk(Path("disk2"), "qcow2", serial="lun0"),
    ),
    "tap",
    "02:00:00:00:00:01",
    Path("/run/console"),
    Path("/run/control"),
    boot=Firmware(Path("/usr/share/code.fd"), Path(lease.VARIABLES)),
)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("VMKILN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("VMKILN_KEYS", str(tmp_path / "keys"))
    return Settings(tmp_path / "home")


@pytest.fixture
def store(settings: Settings, tmp_path: Path) -> Iterator[Store]:
    settings.home.mkdir()
    with opened(settings.database, keys=tmp_path / "keys") as store:
        yield store


@pytest.fixture
def leased(settings: Settings, store: Store) -> Path:
    """The folder of a run's failed VM, whose sealed files say what they are."""
    row = RunRow(RUN, "web", "rg", {}, RunState.FAILED, "", "", "", GROUP, {}, utc_now(), utc_now())
    store.runs.add(row)
    staging_resource_group.create(settings.staging, store, name=GROUP, run_id=RUN, tags={})
    folder = lease.folder_of(settings, RUN)
    folder.mkdir(parents=True)
    keys = {}
    for name in (*NAMES, lease.MEMORY, lease.DEVICES):
        plain = folder.parent.parent / "plain"
        plain.write_bytes(f"this is {name}".encode())
        with plain.open("rb") as source, (folder / f"{name}.1").open("wb") as target:
            key = sealed_copy.new_key()
            sealed_copy.sealed(source.fileno(), target.fileno(), key)
        keys[name] = key.hex()
        plain.unlink()
    contents = lease.Contents(MACHINE, decide((), is_windows=False), "the private key", keys)
    made = lease.written(folder, contents, store, until=4e9, generation=1)
    lease.note(store, made, MACHINE, group=GROUP, host=host_id(settings))
    return folder


def receipt_of(store: Store) -> tuple[bool, bool]:
    """Whether the failed VM is told of as deleted, and as seen to be gone."""
    (found,) = [one for one in receipts_of(store, RUN) if one.name == "build-vm-held"]
    return found.deleted is not None, found.verified_gone is not None


def test_a_failed_vm_has_a_receipt_of_its_own_until_it_is_gone(settings: Settings, store: Store, leased: Path) -> None:
    assert receipt_of(store) == (False, False), "its disk was deleted, and a sealed copy is there"
    cleaning_up.forget_unmade(store, RUN)
    assert receipt_of(store) == (False, False), "it outlives its run"
    lease.forget(settings, store, RUN)
    assert receipt_of(store) == (True, True)


@pytest.mark.parametrize("step", ["resources_deleted", "resources_gone"])
def test_a_deleted_vm_gets_its_receipt_also_when_the_database_was_away(
    step: str, settings: Settings, store: Store, leased: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or when its process was killed then: the folder is still there, empty, and the next clean-up finds it."""

    def away(_table: object, _numbers: object) -> None:
        raise DatabaseAway("the database is away")

    with monkeypatch.context() as patch:
        patch.setattr(type(store.staging), step, away)
        with pytest.raises(DatabaseAway):
            lease.forget(settings, store, RUN)
        with pytest.raises(DatabaseAway):
            lease.remove_over(settings, store)
    assert list(leased.iterdir()) == [], "what was in the VM is gone all the same"
    assert lease.found(settings, RUN) is None
    assert lease.remove_over(settings, store) == {}, "it was none any more"
    assert not leased.exists()
    assert receipt_of(store) == (True, True)
    assert store.runs.find(RUN).held_until == ""


def test_a_group_that_is_deleted_takes_the_failed_vm_along(settings: Settings, store: Store, leased: Path) -> None:
    with run_directory.locked(settings.runs, RUN):
        refused = CliRunner().invoke(app, ["staging", "delete", GROUP, "--yes"]).exception
    assert isinstance(refused, InputError)
    assert "somebody is in" in str(refused)
    assert store.staging.group(GROUP) is not None, "nothing was deleted"
    assert CliRunner().invoke(app, ["staging", "delete", GROUP, "--yes"]).exit_code == 0
    assert not leased.exists()
    assert receipt_of(store) == (True, True)


def test_a_database_that_is_away_is_not_taken_for_a_run_that_is_on_no_record(
    settings: Settings, store: Store, leased: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_table: object, _run_id: str) -> RunRow:
        raise DatabaseAway("the database is away")

    monkeypatch.setattr(type(store.runs), "find", away)
    for forget in (lease.forget_of_group, lease.forget_of):
        with pytest.raises(DatabaseAway):
            forget(settings, store, GROUP)
    assert lease.found(settings, RUN) is not None, "whose it is could not be asked"


def test_nobody_says_that_a_failed_vm_on_another_host_is_gone(settings: Settings, store: Store, leased: Path) -> None:
    group = store.staging.group(GROUP)
    assert group is not None
    staging_resource_group.delete(settings.staging, store, group)
    assert receipt_of(store) == (True, False), "it was not looked for"
    lease.forget(settings, store, RUN)
    assert receipt_of(store) == (True, True)


def test_the_receipt_of_another_hosts_failed_vm_stays_open(settings: Settings, store: Store, leased: Path) -> None:
    """A later attempt of the run failed there; its folder has the same name."""
    own = lease.found(settings, RUN)
    assert own is not None
    lease.note(store, own, MACHINE, group=GROUP, host="another")
    lease.forget(settings, store, RUN)
    rows = store.staging.resources_of(GROUP)
    told = {row.detail["hostId"]: (row.state, row.verified is not None) for row in rows if "hostId" in row.detail}
    assert told == {host_id(settings): (ResourceState.DELETED, True), "another": (ResourceState.EXISTS, False)}
    fact = store.runs.find(RUN).facts["lease"]
    assert fact is not None
    assert fact["host_id"] == "another"


def test_a_kept_vm_of_a_run_that_is_on_no_record_is_looked_for(settings: Settings, store: Store) -> None:
    staging_resource_group.create(settings.staging, store, name=GROUP, run_id=RUN, tags={})
    store.staging.add_resources(GROUP, run_id=RUN, entries=[(VIRTUAL_MACHINE, "build-vm", {})], exist=True)
    refused = CliRunner().invoke(app, ["staging", "boot", GROUP]).exception
    assert isinstance(refused, InputError)
    assert "keeps no VM" in str(refused), "its disk is not here"


def test_a_failed_vm_whose_group_was_deleted_elsewhere_goes_before_its_time(
    settings: Settings, store: Store, leased: Path
) -> None:
    """On another host of a fleet, with its template say, or while somebody was in it."""
    assert lease.remove_over(settings, store) == {}
    group = store.staging.group(GROUP)
    assert group is not None
    staging_resource_group.delete(settings.staging, store, group)
    with run_directory.locked(settings.runs, RUN):
        assert lease.remove_over(settings, store) == {}, "somebody is in"
    told: list[str] = []
    cleaning_up.end_leftovers(settings, store, told.append)
    assert told == [f"the failed VM of run {RUN[:8]} is not held any more: its staging resource group was deleted"]
    assert not leased.exists()
    assert receipt_of(store) == (True, True)
    assert store.runs.find(RUN).held_until == ""


def test_a_failed_vm_that_a_restored_back_up_does_not_know_is_left_its_time(
    settings: Settings, store: Store, leased: Path
) -> None:
    store.runs.forget(RUN)
    assert lease.remove_over(settings, store, now=4e9 - 1) == {}
    assert leased.exists()
    assert lease.remove_over(settings, store, now=4e9) == {RUN: "its time is over"}


def test_a_failed_vm_is_booted_from_its_opened_disks(
    settings: Settings, store: Store, leased: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def booted(disk: Disk, *, data_disks: list[Disk], **more: Any) -> None:
        for one in (disk, *data_disks):
            seen.append((one.path.read_text(), one.read_only, one.serial, one.backing))
        seen.append((more["generation"], more["architecture"]))
        with run_directory.locked_if_free(settings.runs, RUN) as is_free:
            seen.append(is_free)

    monkeypatch.setattr(image_commands, "boot_disk", booted)
    done = CliRunner().invoke(app, ["staging", "boot", GROUP])
    assert done.exit_code == 0, repr(done.exception)
    below = Disk(leased / "below0-0", "qcow2", read_only=True)
    data, machine, is_free = ("this is disk2", True, "lun0", None), (2, "x64"), False
    assert seen == [("this is disk0", True, "", below), data, machine, is_free]
    assert list(settings.runs.iterdir()) == [], "what was opened is gone"
    assert receipt_of(store) == (False, False)
    query = AuditQuery("", utc_now() - timedelta(hours=1), utc_now() + timedelta(hours=1))
    assert [act.operation for act in store.audit.find(query, limit=5)] == [RUN_SHELL], "as one that is entered"
    lease.forget(settings, store, RUN)
    with pytest.raises(InputError, match="not held"), waking.disks_of(settings, store, RUN):
        pass
    assert "keeps no VM" in str(CliRunner().invoke(app, ["staging", "boot", GROUP]).exception)


def test_without_leave_no_disk_of_a_held_vm_is_opened(
    settings: Settings, store: Store, leased: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def refused(_store: Store, run: RunRow) -> None:
        asked.append(run.run_id)
        raise ArmError(403, "AuthorizationFailed", "no authorization to perform action")

    monkeypatch.setattr(leave, "take_leave", refused)
    monkeypatch.setattr(waking, "disks_of", lambda *_: pytest.fail("it was opened"))
    done = CliRunner().invoke(app, ["staging", "boot", GROUP])
    assert isinstance(done.exception, ArmError), repr(done.exception)
    assert asked == [RUN]


@pytest.mark.parametrize("is_leased", [True, False])
async def test_the_disk_of_a_vm_that_lies_sealed_is_not_kept_besides(
    is_leased: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    settings = request.getfixturevalue("settings")
    if is_leased:
        request.getfixturevalue("leased")
    kept: list[str] = []

    async def keep(_staged: object, _before: object, *, vm_name: str) -> None:
        kept.append(vm_name)

    monkeypatch.setattr(cleaning_up, "keep_failed_vm", keep)
    handling = SimpleNamespace(on_customizer_error=OnError.ABORT)
    template = SimpleNamespace(properties=SimpleNamespace(error_handling=handling))
    staged: Any = SimpleNamespace(
        request=SimpleNamespace(run_id=RUN, template=template), host=SimpleNamespace(settings=settings)
    )
    await proving.keep_the_build_vm(staged)
    assert kept == ([] if is_leased else ["build-vm"])
