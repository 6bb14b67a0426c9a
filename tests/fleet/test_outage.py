"""The database goes away for longer than two leases while runs go on: each of them succeeds."""

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from fleet.chaos import fill
from fleet.plain_fleet import plain_fleet
from in_process import wait_for

from vmkiln.store.rows import RunRow

RUNS = 6
LEASE_SECONDS = 4.0
SECONDS = 120
MOST_LINES = 40  # of one worker's log in an outage, a DBOS traceback or two included


def is_quiet(runs: Callable[[], list[RunRow]]) -> bool:
    """Whether no run came to another phase for a while."""
    before = [run.sub_state for run in runs()]
    time.sleep(0.5)
    return [run.sub_state for run in runs()] == before


def test_a_crash_and_an_outage_of_two_leases_cost_no_attempt(tmp_path: Path) -> None:
    with plain_fleet(tmp_path) as fleet:
        for name in ("a", "b"):
            fleet.start(name, LEASE_SECONDS=str(LEASE_SECONDS), PHASE_SECONDS="3", STUB_CPUS="8")
        wait_for(lambda: len(fleet.store.hosts.live()) == 2, seconds=SECONDS)
        run_ids = fill(fleet.store, range(RUNS))

        def runs() -> list[RunRow]:
            return list(fleet.store.runs.by_id(run_ids).values())

        wait_for(lambda: all(run.state == "Running" for run in runs()) and is_quiet(runs), seconds=SECONDS)
        before = [len(worker.log.read_text().splitlines()) for worker in fleet.workers]
        fleet.server.control("-m", "immediate", "stop")
        time.sleep(2.5 * LEASE_SECONDS)  # every lease runs out, and every build has something to record
        after = [len(worker.log.read_text().splitlines()) for worker in fleet.workers]
        fleet.server.control("start")
        wait_for(lambda: all(run.ended for run in runs()), seconds=SECONDS)
        assert Counter(run.state for run in runs()) == {"Succeeded": RUNS}
        # nobody knows of a commit that the crash met whether it is done: such a run begins anew, once; few do in a
        # quiet moment
        assert Counter(run.attempt for run in runs())[1] >= RUNS // 2
        assert max(run.attempt for run in runs()) <= 2
        assert [worker.process.poll() for worker in fleet.workers] == [None, None], "no worker ended"
        assert max(now - then for now, then in zip(after, before, strict=True)) <= MOST_LINES


def test_an_object_store_that_is_away_fails_no_run_built_or_waiting(tmp_path: Path) -> None:
    with plain_fleet(tmp_path) as fleet:
        fleet.start("a", PHASE_SECONDS="1.5", STUB_CPUS="8")
        wait_for(lambda: len(fleet.store.hosts.live()) == 1, seconds=SECONDS)
        run_ids = fill(fleet.store, range(RUNS))  # four go on at once, two wait

        def runs() -> list[RunRow]:
            return list(fleet.store.runs.by_id(run_ids).values())

        wait_for(lambda: sum(run.sub_state == "Customizing" for run in runs()) == 4, seconds=SECONDS)
        (tmp_path / "shared").rename(tmp_path / "unmounted")
        wait_for(lambda: sum(run.sub_state == "Distributing" for run in runs()) == 4, seconds=SECONDS)
        wait_for(lambda: "the image is kept here" in fleet.workers[0].log.read_text(), seconds=SECONDS)
        (tmp_path / "unmounted").rename(tmp_path / "shared")
        wait_for(lambda: all(run.ended for run in runs()), seconds=SECONDS)
        assert Counter((run.state, run.attempt) for run in runs()) == {("Succeeded", 1): RUNS}
