"""What runs whose process died leave behind is ended; what lives is left alone."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from vmkiln.files import locks
from vmkiln.host.saved import saved_vm
from vmkiln.receipts.receipt import receipts_of
from vmkiln.run import cleaning_up
from vmkiln.run.cleaning_up import end_leftovers, leftovers
from vmkiln.run.run_summary import summary_of
from vmkiln.run_state import Phase, RunState
from vmkiln.settings import Settings
from vmkiln.staging import run_directory, staging_resource_group
from vmkiln.staging.staging_resource_group import StagingResourceGroup
from vmkiln.store.database import Store, opened, utc_now
from vmkiln.store.rows import RunRow
from vmkiln.store.tables import runs
from vmkiln.warm import checkpoint

RUN_ID = "0123abcd-0000-0000-0000-000000000000"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(tmp_path / "home")


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    settings.home.mkdir()
    with opened(settings.database) as store:
        yield store


def a_run(
    store: Store, settings: Settings, *, state: RunState = RunState.RUNNING, template_id: str = ""
) -> StagingResourceGroup:
    """A recorded run in its Customizing phase, with a staging resource group that has a VM."""
    store.runs.add(RunRow(RUN_ID, "web", "rg", {}, state, "", "", "", "", {}, utc_now(), None, template_id))
    store.runs.begin_phase(RUN_ID, Phase.BUILDING)
    group = staging_resource_group.create(settings.staging, store, name="IT_rg_web_x", run_id=RUN_ID, tags={})
    number = store.staging.add_resource(
        group.name, run_id=RUN_ID, type="Microsoft.Compute/virtualMachines", name="v", detail={}
    )
    store.staging.resource_exists(number)
    return group


@pytest.mark.parametrize(
    ("state", "end"), [(RunState.RUNNING, ("Failed", "RunLost")), (RunState.CANCELING, ("Canceled", "Canceled"))]
)
def test_a_run_whose_process_died_ends_with_its_resources(
    settings: Settings, store: Store, state: RunState, end: tuple[str, str]
) -> None:
    group = a_run(store, settings, state=state)
    (settings.runs / RUN_ID).mkdir(parents=True)
    (settings.runs / RUN_ID / "overlay.qcow2").write_text("x")
    (settings.runs / f"{RUN_ID}.lock").touch()
    assert leftovers(store, group) == ["Microsoft.Compute/virtualMachines/v"]
    told: list[str] = []
    end_leftovers(settings, store, told.append)
    summary = summary_of(store, RUN_ID)
    assert (summary["state"], summary["error_code"]) == end
    assert summary["phases"][0]["seconds"] is not None
    assert leftovers(store, group) == []
    assert [receipt.verified_gone is None for receipt in receipts_of(store, RUN_ID)] == [True, False]
    assert list(settings.runs.iterdir()) == []
    assert told == [f"cleaning up after run {RUN_ID}, whose process died"]
    assert group.storage_account.directory.is_dir()


def test_a_run_of_a_kept_template_starts_anew_but_not_for_ever(settings: Settings, store: Store) -> None:
    group = a_run(store, settings, template_id="/subscriptions/s/templates/t")
    told: list[str] = []
    for attempt in range(2, Settings.most_run_attempts + 1):
        end_leftovers(settings, store, told.append)
        waiting = store.runs.find(RUN_ID)
        assert (waiting.state, waiting.facts["attempt"], waiting.ended) == (RunState.QUEUED, attempt, None)
        assert leftovers(store, group) == []
        store.runs._connections.change(runs.update().values(state=RunState.RUNNING))
    end_leftovers(settings, store, told.append)
    assert (store.runs.find(RUN_ID).state, store.runs.find(RUN_ID).error_code) == (RunState.FAILED, "RunLost")
    assert told == [f"run {RUN_ID[:8]} of web waits again: its process died"] * (Settings.most_run_attempts - 1)


def test_a_live_run_is_left_alone_with_and_without_its_folder(settings: Settings, store: Store) -> None:
    with run_directory.locked(settings.runs, RUN_ID):
        group = a_run(store, settings)
        end_leftovers(settings, store, print)
        with run_directory.held(settings.runs, RUN_ID) as directory:
            end_leftovers(settings, store, print)
            assert directory.is_dir()
        end_leftovers(settings, store, print)
        assert store.runs.find(RUN_ID).state == RunState.RUNNING
        assert leftovers(store, group) != []


def test_what_a_killed_maker_of_a_saved_vm_left_goes_and_a_living_ones_stays(settings: Settings, store: Store) -> None:
    folder = settings.saved_vms
    living, dead = saved_vm.begun(folder, "a" * 64), saved_vm.begun(folder, "b" * 64)
    with locks.opened(locks.file_of(folder, "a" * 64)) as lock:
        assert locks.try_to_take(lock)
        sockets = dead.with_name(f"{dead.name}.run")
        for place in (living, dead, sockets):
            place.mkdir(exist_ok=True)
            (place / "memory").touch()
        for key, days in (("c" * 64, 0), ("d" * 64, 2)):
            saved_vm.refuse(folder, key, "it did not run")
            then = time.time() - days * 86_400
            os.utime(folder / f"{key}{saved_vm.REFUSED}", (then, then))
        end_leftovers(settings, store, print)
    assert {path.name for path in folder.iterdir() if not path.name.startswith(".lock-")} == {
        living.name,
        f"{'c' * 64}{saved_vm.REFUSED}",
    }


def test_checkpoints_that_are_old_or_whose_template_is_gone_are_deleted(settings: Settings, store: Store) -> None:
    now = time.time()
    for key, scope, made in (
        ("a", "template:/s/gone", now),
        ("b", "command:0:rg/web", now - 8 * 86_400),
        ("c", "command:0:rg/web", now),
    ):
        workplace = saved_vm.begun(settings.saved_vms, key)
        (workplace / saved_vm.MEMORY).write_bytes(b"ram")
        about = checkpoint.About(scope, 1, "install", "run", "web", made, "instance")
        saved_vm.finished(workplace, b"devices", "digest", about=checkpoint.record_of(about))
        saved_vm.named(workplace)
    end_leftovers(settings, store, print)
    assert [one.key for one in checkpoint.all_of(settings.saved_vms)] == ["c"]


def test_a_run_that_ended_stays_as_it_ended(settings: Settings, store: Store) -> None:
    a_run(store, settings)
    store.runs.move(RUN_ID, expected=[RunState.RUNNING], state=RunState.SUCCEEDED)
    end_leftovers(settings, store, print)
    assert store.runs.find(RUN_ID).state == RunState.SUCCEEDED


def test_an_image_being_published_by_a_live_run_is_left_alone(settings: Settings, store: Store) -> None:
    settings.image_store.mkdir()
    temporary = settings.image_store / f".publishing-web-0a1b2c3d4e5f-{RUN_ID[:8]}-1"
    temporary.mkdir()
    with run_directory.locked(settings.runs, RUN_ID):
        end_leftovers(settings, store, print)
        assert temporary.is_dir()
    end_leftovers(settings, store, print)
    assert not temporary.exists()


def test_a_summary_has_nothing_where_nothing_is_known(settings: Settings, store: Store) -> None:
    store.runs.add(RunRow(RUN_ID, "web", "rg", {}, RunState.RUNNING, "", "", "", "", {"a": 1}, utc_now(), None))
    summary = summary_of(store, RUN_ID[:4])
    assert summary["run_id"] == RUN_ID
    assert [summary[name] for name in ("sub_state", "error_code", "ended", "staging_group")] == [None] * 4
    assert (summary["phases"], summary["outputs"], summary["facts"]) == ([], [], {"a": 1})
    assert summary["started"].endswith("Z")


def test_what_cannot_be_cleaned_up_keeps_nothing_else_from_it(
    settings: Settings, store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    a_run(store, settings)
    done: list[str] = []

    def broken(*_: object, **__: object) -> None:
        raise PermissionError(13, "denied")

    def later(*_: object) -> None:
        done.append("cache")
        raise ValueError("another thing")

    monkeypatch.setattr(store.runs, "end_lost", broken)
    monkeypatch.setattr(cleaning_up, "reconcile", broken)
    monkeypatch.setattr(cleaning_up.image_cache, "remove_leftovers", later)
    with pytest.raises(PermissionError):
        end_leftovers(settings, store, lambda _text: None)
    assert done == ["cache"]
    assert "another thing" in caplog.text
