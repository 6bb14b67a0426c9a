"""A receipt is given for what is gone, after a look at the machine, and for nothing else."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from vmkiln.azure_names import VIRTUAL_MACHINE
from vmkiln.host.confinement import run_group
from vmkiln.host.usage import left_processes
from vmkiln.receipts.receipt import Receipt, receipts_of
from vmkiln.receipts.verification import verify
from vmkiln.run_state import Phase
from vmkiln.settings import Settings
from vmkiln.staging import staging_resource_group
from vmkiln.store.database import Store, opened, utc_now
from vmkiln.store.rows import RunRow

RUN_ID = "0123abcd-0000-0000-0000-000000000000"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(tmp_path / "home")


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    settings.home.mkdir()
    with opened(settings.database) as store:
        store.runs.add(RunRow(RUN_ID, "web", "rg", {}, "Running", "", "", "", "", {}, utc_now(), None))
        store.runs.begin_phase(RUN_ID, Phase.BUILDING)
        staging_resource_group.create(settings.staging, store, name="IT_a", run_id=RUN_ID, tags={})
        yield store


def a_vm(store: Store, name: str = "build-vm", **detail: str) -> int:
    number = store.staging.add_resource("IT_a", run_id=RUN_ID, type=VIRTUAL_MACHINE, name=name, detail=detail)
    store.staging.resource_exists(number)
    return number


def of(store: Store, name: str = "build-vm") -> Receipt:
    return next(found for found in receipts_of(store, RUN_ID) if found.name == name)


def test_what_was_deleted_and_is_gone_has_three_times(settings: Settings, store: Store) -> None:
    store.staging.resource_deleted(a_vm(store))
    assert of(store).verified_gone is None
    assert verify(settings, store, RUN_ID) == []
    found = of(store)
    assert found.deleted is not None
    assert found.verified_gone is not None
    assert found.made <= found.deleted <= found.verified_gone
    assert verify(settings, store, RUN_ID) == []
    assert of(store) == found, "a receipt is given once"


@pytest.mark.parametrize("left", ["folder", "process", "control group"])
def test_what_is_still_there_has_no_receipt(
    settings: Settings, store: Store, left: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.staging.resource_deleted(a_vm(store))
    if left == "folder":
        (settings.runs / f"{RUN_ID}.2").mkdir(parents=True)
    elif left == "process":
        monkeypatch.setattr(left_processes, "seeing", lambda _folder: [7])
    else:
        monkeypatch.setattr(run_group, "is_there", lambda run_id: run_id == RUN_ID)
    assert len(verify(settings, store, RUN_ID)) == 1
    assert of(store).verified_gone is None


def test_what_was_kept_or_not_deleted_has_no_receipt(settings: Settings, store: Store) -> None:
    a_vm(store)
    a_vm(store, "kept", path="/x")
    assert verify(settings, store, RUN_ID) == []
    assert [found.verified_gone for found in receipts_of(store, RUN_ID)] == [None] * 3


def test_an_earlier_attempt_is_not_judged_by_another_host(settings: Settings, store: Store) -> None:
    store.staging.resource_deleted(a_vm(store, "first"))
    store.runs.begin_phase(RUN_ID, Phase.BUILDING)
    store.staging.resource_deleted(a_vm(store, "second"))
    verify(settings, store, RUN_ID)
    assert [of(store, name).verified_gone is None for name in ("first", "second")] == [True, False]


def test_the_storage_account_has_its_receipt_when_its_folder_is_gone(settings: Settings, store: Store) -> None:
    store.staging.resource_deleted(a_vm(store))
    a_vm(store, "kept", path="/x")
    group = store.staging.group("IT_a")
    assert group is not None
    staging_resource_group.delete(settings.staging, store, group)
    assert [found.verified_gone is None for found in receipts_of(store, RUN_ID)] == [False, True, False]
