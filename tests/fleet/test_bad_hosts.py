"""A host that cannot build gets nothing and fails nothing: one lacks a program, another lost its object store."""

from collections import Counter
from pathlib import Path

from fleet.chaos import fill
from fleet.plain_fleet import plain_fleet
from in_process import wait_for

from vmkiln.store.rows import HostState, RunRow

RUNS = 30
AT_ONCE = 2  # runs of one host
SECONDS = 90


def test_two_bad_hosts_of_three_fail_no_run_and_come_back(tmp_path: Path) -> None:
    with plain_fleet(tmp_path) as fleet:
        store = fleet.store
        (tmp_path / "unfit.unfit").touch()
        for name in ("unfit", "storeless", "well"):
            fleet.start(name)
        wait_for(lambda: len(store.hosts.live()) == 3, seconds=SECONDS)
        fleet.workers[1].objects.unlink()
        run_ids = fill(store, range(RUNS))

        def runs() -> list[RunRow]:
            return list(store.runs.by_id(run_ids).values())

        # what the storeless one had built when it lost its store is kept there, and published when that is back
        wait_for(lambda: all(run.ended or run.sub_state == "Distributing" for run in runs()), seconds=SECONDS)
        wait_for(lambda: sum(not run.ended for run in runs()) <= AT_ONCE, seconds=SECONDS)
        faults = Counter(name for run in runs() for name in run.facts.get("host_faults", {}))
        assert "unfit" in faults, "it got runs, or this test tried nothing"
        assert set(faults) <= {"unfit", "storeless"}
        assert max(faults.values()) <= 4, "each had room for two at once, and may have begun two more while one ended"

        # the storeless one is NotReady when it was asked for a run after that, and Ready when it was not
        assert fleet.states() | {"storeless": ""} == {"unfit": "NotReady", "storeless": "", "well": "Ready"}
        why = {host.name: (host.unready, host.unready_reason) for host in store.hosts.all()}
        assert why["unfit"] == ("HostUnfit", "Packer is not installed")
        assert why["well"] == ("", "")

        fleet.workers[0].unfit.unlink()
        fleet.workers[1].objects.symlink_to(tmp_path / "shared")
        wait_for(lambda: set(fleet.states().values()) == {HostState.READY}, seconds=SECONDS)
        wait_for(lambda: all(run.ended for run in runs()), seconds=SECONDS)
        assert Counter(run.state for run in runs()) == {"Succeeded": RUNS}, {run.message for run in runs()}

        fleet.workers[2].process.terminate()
        assert fleet.workers[2].process.wait(SECONDS) == 0
        assert fleet.states()["well"] == HostState.STOPPED, "it was stopped in order"
        fleet.workers[1].process.kill()
        wait_for(lambda: fleet.states()["storeless"] == HostState.DEAD, seconds=SECONDS)
