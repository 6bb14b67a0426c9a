"""Times of a fleet are those of its database, whatever the clocks of its hosts say."""

import contextlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from postgresql import cluster

from vmkiln.store import host_table
from vmkiln.store.database import opened
from vmkiln.store.driver import server_clock
from vmkiln.store.driver.server_clock import ServerClock
from vmkiln.store.rows import HostRow, RunRow

HOURS = timedelta(hours=3)
A_MINUTE = timedelta(minutes=1)


def test_the_time_goes_on_from_what_the_server_said_and_never_back() -> None:
    passed = [0.0]
    clock = ServerClock(steady=lambda: passed[0])
    clock.hear(1_000.0)
    passed[0] = 5.0
    assert clock().timestamp() == 1_005.0
    clock.hear(1_004.5, waited=1.0)
    assert clock().timestamp() == 1_005.0, "that answer was late"
    clock.hear(985.0, waited=30.0)
    assert clock().timestamp() == 1_005.0, "and that one by as long as it was waited for"
    clock.hear(1_006.0, waited=1.0)
    assert clock().timestamp() == 1_006.0
    clock.hear(900.0, waited=0.5)
    assert clock().timestamp() == 900.5, "another server's clock"


def test_a_host_whose_clock_is_wrong_records_the_times_of_the_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Wrong:
        """Three hours ahead."""

        fromtimestamp = datetime.fromtimestamp

        def now(self, _zone: Any) -> datetime:
            return datetime.now(UTC) + HOURS

    monkeypatch.setattr(server_clock, "datetime", Wrong())
    assert ServerClock()() - datetime.now(UTC) > HOURS - A_MINUTE, "until the server has said what time it is"
    with cluster() as server, opened(server.new_database(), home=tmp_path) as store:
        assert abs(store.now() - datetime.now(UTC)) < A_MINUTE
        store.runs.add(RunRow("r", "web", "rg", {}, "Running", "", "", "", "", {}, store.now(), None))
        store.runs.begin_phase("r", "Building")
        store.runs.move("r", expected=["Running"], state="Succeeded")
        run, [phase] = store.runs.find("r"), store.runs.phases_of("r")
        assert run.ended is not None
        assert phase.ended == run.ended
        for moment in (run.started, phase.started, run.ended):
            assert abs(moment - datetime.now(UTC)) < A_MINUTE


def test_each_renewal_of_a_lease_tells_what_time_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[float] = []
    monkeypatch.setattr(host_table, "asking", lambda _clock: contextlib.nullcontext(told.append))
    with opened(tmp_path / "db") as store:
        store.hosts.register(HostRow("i", "id", "here", "x64", "", "", 8, 1, 1), lease_seconds=60)
        assert store.hosts.renew("i", lease_seconds=60)
        assert abs(told[0] - datetime.now(UTC).timestamp()) < A_MINUTE.total_seconds()
        assert not store.hosts.renew("another", lease_seconds=60)
        assert len(told) == 1
