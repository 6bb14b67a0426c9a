"""The outbox of notices, in both databases."""

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from postgresql import cluster

from vmkiln.run_state import RunState
from vmkiln.store.database import Store, opened
from vmkiln.store.notices.outbox_table import KEPT, NoticeState
from vmkiln.store.rows import RunRow

START = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    now = START

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["SQLite", "PostgreSQL"])
def store(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Store]:
    with contextlib.ExitStack() as stack:
        is_file = request.param == "SQLite"
        place = tmp_path / "db" if is_file else stack.enter_context(cluster()).new_database()
        yield stack.enter_context(opened(place, clock=clock, home=tmp_path))


def test_a_notice_is_here_once_is_taken_once_and_goes_in_the_end(store: Store, clock: Clock) -> None:
    outbox = store.outbox
    assert outbox.mark() == START
    event = {"id": "e1", "data": {"a": 1}}
    for _ in range(2):
        assert outbox.add([event], ["webhook", "mail"], until=START + timedelta(seconds=5)) == 0
    assert outbox.mark() == START + timedelta(seconds=5)
    assert outbox.known(["e1", "e2"]) == {"e1"}
    assert outbox.known([]) == set()
    (row,) = outbox.due("webhook", limit=9)
    assert row.event == event
    assert [outbox.claim(row, seconds=60) for _ in range(2)] == [True, False]
    assert outbox.due("webhook", limit=9) == []
    outbox.put_off(row, "it answered 500", seconds=10)
    assert outbox.failing(["webhook", "mail"]) == [("webhook", 1, "it answered 500")]
    assert outbox.failing([]) == []
    clock.now += timedelta(seconds=11)
    (again,) = outbox.due("webhook", limit=9)
    assert (again.event_id, again.tries) == ("e1", 1)
    outbox.sent(again)
    outbox.give_up(again, "what was sent is not given up")
    assert outbox.counts() == {("webhook", NoticeState.SENT): 1, ("mail", NoticeState.WAITING): 1}
    clock.now += KEPT
    assert outbox.forget() == 1
    assert outbox.counts() == {("mail", NoticeState.GIVEN_UP): 1}


def test_ended_runs_come_page_by_page_and_each_once(store: Store, clock: Clock) -> None:
    for number in range(5):
        clock.now = START + timedelta(seconds=number // 2)  # several ended in the same moment
        run_id = f"r{number}"
        store.runs.add(RunRow(run_id, "web", "rg", {"a": 1}, RunState.RUNNING, "", "", "", "", {}, clock.now, None))
        store.runs.move(run_id, expected=[RunState.RUNNING], state=RunState.SUCCEEDED)
    found: list[str] = []
    after = None
    while page := store.outbox.ended_runs(START, after=after, limit=2):
        found += [run.run_id for run in page]
        ended = page[-1].ended
        assert ended is not None
        after = ended, page[-1].run_id
    assert found == ["r0", "r1", "r2", "r3", "r4"]
