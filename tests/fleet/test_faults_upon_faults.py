"""A fault that comes while the one before is dealt with: hosts die in turn, the database and the store besides."""

import os
import signal
from collections import Counter
from pathlib import Path

import pytest
from fleet.chaos import GALLERY, fill
from fleet.plain_fleet import PlainFleet, Worker, plain_fleet
from in_process import wait_for

from vmkiln.store.rows import RunRow

RUNS = 18
LEASE = {"LEASE_SECONDS": "4", "PHASE_SECONDS": "1"}
SECONDS = 240


def killed(worker: Worker) -> None:
    worker.process.kill()
    worker.process.wait()


def attempts(fleet: PlainFleet, run_ids: list[str]) -> int:
    """How many attempts all runs had together."""
    return sum(run.attempt for run in fleet.store.runs.by_id(run_ids).values())


@pytest.mark.long
def test_faults_upon_faults_lose_no_run_and_double_none(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root writes to a folder that is read-only: use script/test")
    with plain_fleet(tmp_path) as fleet:
        workers = {name: fleet.start(name, **LEASE) for name in "abc"}
        wait_for(lambda: len(fleet.store.hosts.live()) == 3, seconds=SECONDS)
        ids = fill(fleet.store, range(RUNS))

        def runs() -> list[RunRow]:
            return list(fleet.store.runs.by_id(ids).values())

        def is_busy(name: str) -> bool:
            mine = {host.incarnation for host in fleet.store.hosts.live() if host.name == name}
            return any(placed.incarnation in mine for placed in fleet.store.hosts.placed())

        def are_given_up(*names: str) -> bool:  # by somebody, and not only silent for as long as a lease lasts
            return all(host.is_dead for host in fleet.store.hosts.all() if host.name in names)

        wait_for(lambda: all(map(is_busy, "abc")), seconds=SECONDS)
        before = attempts(fleet, ids)
        killed(workers["a"])
        wait_for(lambda: attempts(fleet, ids) > before, seconds=SECONDS)
        killed(workers["b"])  # while the runs of the first are being taken over
        workers["a"] = fleet.start("a", **LEASE)  # the same host again
        workers["c"].process.send_signal(signal.SIGSTOP)
        wait_for(lambda: are_given_up("b", "c"), seconds=SECONDS)
        fleet.server.control("-m", "immediate", "restart")
        workers["c"].process.send_signal(signal.SIGCONT)
        assert workers["c"].process.wait(SECONDS) == 3, "it lost its lease, and says so"
        workers["b"] = fleet.start("b", **LEASE)
        wait_for(lambda: is_busy("b"), seconds=SECONDS)
        fleet.store.hosts.drain("b", is_draining=True)
        folders = [folder for folder in (tmp_path / "shared").rglob("*") if folder.is_dir()]
        for folder in [tmp_path / "shared", *folders]:
            folder.chmod(0o555)
        killed(workers["a"])  # what it built and could not share is lost with it; the runs are not
        workers["a"] = fleet.start("a", **LEASE)
        fleet.server.control("-m", "immediate", "restart")
        for folder in [tmp_path / "shared", *folders]:
            folder.chmod(0o755)
        fleet.store.hosts.drain("b", is_draining=False)
        workers["c"] = fleet.start("c", **LEASE)
        wait_for(lambda: all(run.ended for run in runs()), seconds=SECONDS)
        assert Counter(run.state for run in runs()) == {"Succeeded": RUNS}, {run.message for run in runs()}
        images = Counter(image.run_id for image in fleet.store.images.list(prefix=f"{GALLERY}/versions/"))
        assert images == dict.fromkeys(ids, 1)
        wait_for(lambda: not fleet.store.hosts.reservations(), seconds=SECONDS)
        assert {workers[name].process.poll() for name in "ab"} == {None}
