"""Ten minutes without the database, or without the object store, in the middle of twenty builds: all succeed once."""

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from fleet.chaos import GALLERY, fill
from fleet.plain_fleet import PlainFleet, plain_fleet
from in_process import wait_for

from vmkiln.store.rows import HostState, RunRow

RUNS = 20
AWAY_SECONDS = 600
SECONDS = 300
WORKERS = ("a", "b")
ROOM = {"LEASE_SECONDS": "60", "PHASE_SECONDS": "15", "STUB_CPUS": "10"}  # five runs at once on each, ten wait
pytestmark = pytest.mark.long


def begun(fleet: PlainFleet) -> Callable[[], list[RunRow]]:
    """Start the workers, wait until ten runs go on and ten wait; gives what tells the runs."""
    for name in WORKERS:
        fleet.start(name, **ROOM)
    wait_for(lambda: len(fleet.store.hosts.live()) == len(WORKERS), seconds=SECONDS)
    run_ids = fill(fleet.store, range(RUNS))

    def runs() -> list[RunRow]:
        return list(fleet.store.runs.by_id(run_ids).values())

    wait_for(lambda: sum(run.state == "Running" for run in runs()) == RUNS // 2, seconds=SECONDS)
    return runs


def all_succeed_once(fleet: PlainFleet, runs: Callable[[], list[RunRow]]) -> Counter[int]:
    """Wait for the end; every run succeeded and has one image. Gives how many runs took how many attempts."""
    wait_for(lambda: all(run.ended for run in runs()), seconds=SECONDS)
    assert Counter(run.state for run in runs()) == {"Succeeded": RUNS}, {run.message for run in runs()}
    images = Counter(image.run_id for image in fleet.store.images.list(prefix=f"{GALLERY}/versions/"))
    assert images == {run.run_id: 1 for run in runs()}
    assert [worker.process.poll() for worker in fleet.workers] == [None, None], "no worker ended"
    assert set(fleet.states().values()) == {HostState.READY}
    return Counter(run.attempt for run in runs())


def test_ten_minutes_without_the_database_cost_no_build(tmp_path: Path) -> None:
    with plain_fleet(tmp_path) as fleet:
        runs = begun(fleet)
        fleet.server.control("-m", "immediate", "stop")
        time.sleep(AWAY_SECONDS)
        fleet.server.control("start")
        attempts = all_succeed_once(fleet, runs)
        # nobody knows of a commit that the crash met whether it is done: such a run begins anew, once
        assert attempts[1] >= RUNS - 2, attempts
        assert max(attempts) <= 2, attempts


def test_ten_minutes_without_the_object_store_cost_no_build(tmp_path: Path) -> None:
    with plain_fleet(tmp_path) as fleet:
        runs = begun(fleet)
        (tmp_path / "shared").rename(tmp_path / "unmounted")
        time.sleep(AWAY_SECONDS)
        assert not [run for run in runs() if run.ended], "none ended without its store"
        (tmp_path / "unmounted").rename(tmp_path / "shared")
        attempts = all_succeed_once(fleet, runs)
        assert max(attempts) <= 2, attempts
