"""Logs of ended runs go when they are too old or too many, the oldest first, and say so."""

import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from vmkiln.azure_names import CUSTOMIZATION_LOG, FLOW_LOG
from vmkiln.fleet.log_retention import NOTE, forget_logs
from vmkiln.run.guest.screen import name_of
from vmkiln.run_state import RunState
from vmkiln.settings import Settings
from vmkiln.staging import staging_resource_group
from vmkiln.staging.storage_account import LOGS
from vmkiln.store.database import Store, opened, utc_now
from vmkiln.store.rows import RunRow

MIB = 1024 * 1024


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with opened(Settings(tmp_path).database) as found:
        yield found


def a_log(settings: Settings, store: Store, run_id: str, *, days: float | None, subscription: str = "1") -> Path:
    """The log, of 1 MiB, of a run that ended so many days ago; without days, of one that goes on."""
    group = f"IT_{run_id}"
    account = staging_resource_group.create(settings.staging, store, name=group, run_id="", tags={}).storage_account
    file = account.blob(f"{LOGS}/{run_id}/{CUSTOMIZATION_LOG}")
    file.write_bytes(b"x" * MIB)
    account.blob(f"vhds/{run_id}.vhd").write_bytes(b"image")
    template = f"/subscriptions/{subscription:0>36}/resourcegroups/rg/providers/x/imagetemplates/t-{run_id}"
    ended = None if days is None else utc_now() - timedelta(days=days)
    state = RunState.RUNNING if days is None else RunState.FAILED
    started = utc_now() - timedelta(days=1000)
    row = RunRow(run_id, "t", "rg", {}, state, "", "", "", group, {}, started, ended, template)
    store.runs.add(row)
    return file


def gone(*files: Path) -> list[bool]:
    return [file.read_bytes() == NOTE for file in files]


def test_what_is_too_old_goes_and_what_goes_on_stays(tmp_path: Path, store: Store) -> None:
    settings = replace(Settings(tmp_path), run_logs_kept_days=10.0)
    files = [a_log(settings, store, name, days=days) for name, days in (("a", 11.0), ("b", 9.0), ("c", None))]
    assert forget_logs(settings, store) == 1
    assert gone(*files) == [True, False, False]
    assert forget_logs(settings, store) == 0, "once"
    assert (files[0].parents[2] / "vhds/a.vhd").read_bytes() == b"image"


def test_of_what_is_too_much_the_oldest_of_its_subscription_goes(tmp_path: Path, store: Store) -> None:
    settings = replace(Settings(tmp_path), most_run_log_mib=2)
    files = [a_log(settings, store, name, days=days) for name, days in (("a", 3.0), ("b", 2.0), ("c", 1.0))]
    other = a_log(settings, store, "d", days=5.0, subscription="2")
    stranger = tmp_path / "staging" / "IT_a" / "account" / LOGS / "nobody" / CUSTOMIZATION_LOG
    stranger.parent.mkdir(parents=True)
    stranger.write_bytes(b"x" * 9 * MIB)
    assert forget_logs(settings, store) == 1
    assert gone(*files, other, stranger) == [True, False, False, False, False]


def test_logs_of_runs_that_are_on_no_record_go_when_they_are_old(tmp_path: Path, store: Store) -> None:
    """Another host of the fleet deleted the record; a young one may be of a run that a back-up does not know."""
    settings = replace(Settings(tmp_path), run_logs_kept_days=10.0)
    known = a_log(settings, store, "a", days=1.0)
    files = [known.parents[1] / name / CUSTOMIZATION_LOG for name in ("old", "young", "crowded")]
    for file in (*files, files[2].with_name("notes.txt"), files[0].with_name(name_of("build-vm", 1))):
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"x")
        if file.parent.name != "young":
            long_ago = (utc_now() - timedelta(days=11)).timestamp()
            os.utime(file, (long_ago, long_ago))
    forget_logs(settings, store)
    assert known.stat().st_size == MIB
    assert [file.exists() for file in files] == [False, True, False]
    assert [file.parent.exists() for file in files] == [False, True, True], "what is no log stays"


def test_flow_logs_count_and_go_as_other_logs_do(tmp_path: Path, store: Store) -> None:
    settings = replace(Settings(tmp_path), most_run_log_mib=2)
    files = [a_log(settings, store, name, days=days) for name, days in (("a", 2.0), ("b", 1.0))]
    flows = [file.with_name(FLOW_LOG) for file in files]
    for file in flows:
        file.write_bytes(b"{}\n" * (MIB // 3))
    assert forget_logs(settings, store) == 2
    assert gone(*files, *flows) == [True, False, True, False]


@pytest.mark.parametrize("change", [{"run_logs_kept_days": 10.0}, {"most_run_log_mib": 2}])
def test_pictures_of_screens_count_and_go_as_logs_do(tmp_path: Path, store: Store, change: dict[str, float]) -> None:
    settings = replace(Settings(tmp_path), **change)  # type: ignore[arg-type]
    files = [a_log(settings, store, name, days=days) for name, days in (("a", 11.0), ("b", 1.0), ("c", None))]
    pictures = [file.with_name(name_of("build-vm", 1)) for file in files]
    for picture in pictures:
        picture.write_bytes(b"x" * (MIB // 2))
    assert forget_logs(settings, store) == 2
    assert gone(*files) == [True, False, False]
    assert [picture.exists() for picture in pictures] == [False, True, True]
    assert forget_logs(settings, store) == 0, "once"
