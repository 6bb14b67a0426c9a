"""Calls of runs wait while their database is away, and no call whose commit is in doubt is made twice."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from vmkiln.errors import DatabaseAway
from vmkiln.waiting import patience as patience_module
from vmkiln.waiting.patience import Patience, patient


class Table:
    """A table of a database that is away for as many calls as `away` says."""

    def __init__(self, away: int = 0) -> None:
        self.away, self.calls, self.is_in_doubt = away, 0, False
        self.asked = threading.Event()

    def add(self, text: str) -> str:
        """Record a text."""
        self.calls += 1
        self.asked.set()
        if self.calls <= self.away:
            error = DatabaseAway("no answer")
            error.is_in_doubt = self.is_in_doubt
            raise error
        return text


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience_module, "PAUSE_SECONDS", 0.01)


def test_a_call_waits_and_the_outage_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    table = Table(away=5)
    assert patient(table, Patience()).add("a") == "a"
    assert table.calls == 6
    assert [record.message[:20] for record in caplog.records] == ["runs go on, and wait", "runs can record what"]


def test_what_may_have_been_committed_is_not_done_twice() -> None:
    table = Table(away=1)
    table.is_in_doubt = True
    with pytest.raises(DatabaseAway):
        patient(table, Patience()).add("a")
    assert table.calls == 1


def test_nobody_waits_any_more_when_the_host_ends() -> None:
    table, waits = Table(away=10**9), Patience()
    with ThreadPoolExecutor(1) as pool:
        calling = pool.submit(patient(table, waits).add, "a")
        assert table.asked.wait(10)
        waits.end()
        with pytest.raises(DatabaseAway):
            calling.result(10)
