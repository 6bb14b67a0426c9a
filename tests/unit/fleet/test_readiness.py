"""Whether a host can build: tried, told, and after faults that no look finds it rests."""

import asyncio
from pathlib import Path

import pytest

from vmkiln.errors import HostUnfit
from vmkiln.fleet.readiness import MOST_IN_A_ROW, MOST_REST_SECONDS, REST_SECONDS, Readiness
from vmkiln.store.database import Store, opened
from vmkiln.store.rows import HostRow, HostState


class Host:
    """A host that is recorded, and lacks what `lacks` says."""

    def __init__(self, store: Store, *, is_ready: bool = True) -> None:
        self.store, self.lacks, self.now, self.woken = store, "", 0.0, 0
        self.readiness = Readiness(store, "life", self._level, None, self._woken, is_ready, clock=lambda: self.now)
        unready, reason = self.readiness.at_first
        row = HostRow("life", "id", "kiln", "x64", "", "", 4, 1, 1, unready=unready, unready_reason=reason)
        store.hosts.register(row, lease_seconds=600)

    async def _level(self) -> str:
        if self.lacks:
            raise HostUnfit(self.lacks)
        return "emulated"

    def _woken(self) -> None:
        self.woken += 1

    def told(self) -> tuple[str, str]:
        [row] = self.store.hosts.all()
        return row.state_at(self.store.hosts.now()), row.unready_reason


async def test_a_host_gets_nothing_before_it_was_made_ready(tmp_path: Path) -> None:
    with opened(tmp_path / "db") as store:
        host = Host(store, is_ready=False)
        assert host.told() == (HostState.NOT_READY, "it is being made ready")
        host.lacks = "Packer is not installed"
        with pytest.raises(HostUnfit):
            await host.readiness.look()
        assert (host.told(), host.woken) == ((HostState.NOT_READY, "Packer is not installed"), 0)
        host.lacks = ""
        await host.readiness.look()
        assert (host.told(), host.woken) == ((HostState.READY, ""), 1)
        assert store.hosts.live()[0].isolation_level == "emulated"


async def test_faults_that_no_look_finds_make_a_host_rest_for_longer_each_time(tmp_path: Path) -> None:
    with opened(tmp_path / "db") as store:
        host = Host(store)
        seconds = [0.0] * (MOST_IN_A_ROW - 1) + [REST_SECONDS, 2 * REST_SECONDS]
        for number, rest in enumerate([*seconds, 4 * REST_SECONDS, 8 * REST_SECONDS, MOST_REST_SECONDS]):
            store.hosts.describe("life", unready="HostUnfit", unready_reason="a fault")
            host.readiness.met_a_fault(f"run {number}")
            assert host.readiness.wake.is_set()
            if rest:
                host.now += min(rest, MOST_REST_SECONDS) - 1
                await host.readiness.look()
                assert host.told() == (HostState.NOT_READY, "a fault"), f"it rests after {number + 1}"
                host.now += 1
            await host.readiness.look()
            assert host.told() == (HostState.READY, ""), number
        host.readiness.went_well()
        host.readiness.met_a_fault("another run")
        await host.readiness.look()
        assert host.told() == (HostState.READY, ""), "a run that went well ends the row"


async def test_one_run_with_many_faults_lets_no_host_rest(tmp_path: Path) -> None:
    """Else one user's run could take host after host from everybody."""
    with opened(tmp_path / "db") as store:
        host = Host(store)
        for _ in range(3 * MOST_IN_A_ROW):
            host.readiness.met_a_fault("the same")
            await asyncio.wait_for(host.readiness.look(), 5)
            assert host.readiness.is_ready
