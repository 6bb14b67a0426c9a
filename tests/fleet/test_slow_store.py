"""An object store that takes longer than a lease for each request fails no run and costs no host its lease."""

from collections import Counter
from pathlib import Path

import pytest
from fleet.chaos import GALLERY, fill
from fleet.plain_fleet import plain_fleet
from in_process import wait_for

from vmkiln.store.rows import HostState, RunRow

RUNS = 6
LEASE_SECONDS = 3.0
STORE_SECONDS = 4.0
SECONDS = 900


@pytest.mark.long
def test_a_slow_object_store_fails_no_run_and_loses_no_lease(tmp_path: Path) -> None:
    with plain_fleet(tmp_path) as fleet:
        store = fleet.store
        for name in ("a", "b"):
            fleet.start(name, STUB_CPUS="4", STORE_SECONDS=str(STORE_SECONDS), LEASE_SECONDS=str(LEASE_SECONDS))
        wait_for(lambda: len(store.hosts.live()) == 2, seconds=SECONDS)
        incarnations = {host.incarnation for host in store.hosts.live()}
        run_ids = fill(store, range(RUNS))

        def runs() -> list[RunRow]:
            return list(store.runs.by_id(run_ids).values())

        def goes_on() -> bool:
            assert {host.incarnation for host in store.hosts.live()} == incarnations, "a lease was lost"
            assert set(fleet.states().values()) == {HostState.READY}, fleet.states()
            return not all(run.ended for run in runs())

        wait_for(lambda: not goes_on(), seconds=SECONDS)
        assert Counter(run.state for run in runs()) == {"Succeeded": RUNS}, {run.message for run in runs()}
        assert {run.attempt for run in runs()} == {1}, "none was given up, none begun again"
        images = Counter(image.run_id for image in store.images.list(prefix=f"{GALLERY}/versions/"))
        assert images == dict.fromkeys(run_ids, 1)
        assert [worker.process.poll() for worker in fleet.workers] == [None, None]
