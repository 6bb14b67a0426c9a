"""The audit is written to the log always, to the table when that can be, and never keeps a request."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest

from vmkiln.audit import audit_log
from vmkiln.audit.act import SERVICE, CallerKind, Cause, Outcome, Who, audit_row, new_cause, operator, plain
from vmkiln.audit.audit_log import AuditLog, Kept, record_here
from vmkiln.errors import DatabaseAway
from vmkiln.store.audit_table import AuditQuery, AuditTable
from vmkiln.store.database import opened
from vmkiln.store.rows import AuditRow

NOW = datetime(2026, 1, 2, tzinfo=UTC)
ANNA = Who("Anna", "object-1", CallerKind.USER, "10.0.0.1")
TEMPLATE = "/subscriptions/S1/resourceGroups/Rg1/providers/Microsoft.VirtualMachineImages/imageTemplates/web"


def an_act(operation: str = "A/b/write", *, code: int = 200, name: str = "Anna") -> AuditRow:
    who = Who(name, "object-1", CallerKind.USER)
    return audit_row(operation, TEMPLATE, who=who, cause=new_cause(), moment=NOW, outcome=Outcome(code))


@dataclass
class StandIn:
    """A table that can be away, slow, or refuse what is called bad."""

    rows: list[AuditRow] = field(default_factory=list)
    commits: int = 0
    is_away: bool = False
    is_free: threading.Event = field(default_factory=threading.Event)

    def add(self, rows: Sequence[AuditRow]) -> None:
        self.is_free.wait(20)
        if self.is_away:
            raise DatabaseAway("the database is away")
        if any(row.operation == "bad" for row in rows):
            raise ValueError("bad")
        self.commits += 1
        self.rows += rows


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    """A service's log; the levels are as before afterwards."""
    loggers = [logging.getLogger(name) for name in ("vmkiln", audit_log.AUDIT)]
    levels = [logger.level for logger in loggers]
    audit_log.log_always()
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


@pytest.fixture
def table() -> StandIn:
    found = StandIn()
    found.is_free.set()
    return found


@pytest.fixture
def audit(table: StandIn, monkeypatch: pytest.MonkeyPatch) -> AuditLog:
    monkeypatch.setattr(audit_log, "RETRY_SECONDS", 0.02)
    return AuditLog(cast("AuditTable", table))


def all_at_once(count: int, what: Callable[[], None]) -> None:
    threads = [threading.Thread(target=what) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_an_act_is_in_the_table_when_its_request_is_answered(tmp_path: Path) -> None:
    with opened(tmp_path / "db") as store:
        row = audit_row("A/b/write", TEMPLATE, who=ANNA, cause=new_cause(), moment=store.now())
        AuditLog(store.audit).record(row)
        found = store.audit.find(AuditQuery("s1", row.moment, row.moment), limit=9)
    assert [item.event_id for item in found] == [row.event_id]


def test_the_line_is_written_though_the_log_is_quiet(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("vmkiln").setLevel(logging.WARNING)
    cause, detail = Cause("c-1", "r-1", "POST"), {"runId": "7"}
    row = audit_row("A/b/run/action", TEMPLATE, who=ANNA, cause=cause, moment=NOW, outcome=Outcome(202), detail=detail)
    audit_log.log_line(row)
    (line,) = [record for record in caplog.records if record.name == "vmkiln.audit"]
    assert line.getMessage() == (
        f"A/b/run/action Accepted 202 by Anna [user object-1] from 10.0.0.1 on {TEMPLATE} runId=7 "
        "correlation=c-1 request=r-1"
    )
    members: dict[str, Any] = vars(line)
    assert (members["caller"], members["status"], members["source"]) == ("Anna", "Accepted", "10.0.0.1")


def test_a_command_that_a_user_types_tells_its_act_only_when_asked(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger(audit_log.AUDIT).setLevel(logging.NOTSET)
    for level in (logging.WARNING, logging.INFO):
        logging.getLogger("vmkiln").setLevel(level)
        audit_log.log_line(an_act())
    assert len(caplog.records) == 1


def test_many_acts_share_a_commit(audit: AuditLog, table: StandIn) -> None:
    table.is_free.clear()
    threading.Timer(0.3, table.is_free.set).start()
    all_at_once(40, lambda: audit.record(an_act()))
    assert len(table.rows) == 40
    assert table.commits <= 3


def test_a_stuck_table_keeps_no_request_for_long(audit: AuditLog, table: StandIn) -> None:
    table.is_free.clear()
    began = time.monotonic()
    audit.record(an_act())
    assert time.monotonic() - began < audit_log.WAIT_SECONDS + 1
    table.is_free.set()
    assert audit.flush(10)
    assert len(table.rows) == 1


def test_a_refused_act_is_not_waited_for(audit: AuditLog, table: StandIn) -> None:
    table.is_free.clear()
    began = time.monotonic()
    audit.record(an_act(code=403))
    assert time.monotonic() - began < audit_log.WAIT_SECONDS / 2
    table.is_free.set()
    assert audit.flush(10)
    assert table.rows[0].is_refused


def test_acts_wait_while_the_database_is_away(
    audit: AuditLog, table: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    table.is_away = True
    audit.record(an_act("first"))
    began = time.monotonic()
    for _ in range(20):
        audit.record(an_act("later"))
    assert time.monotonic() - began < audit_log.WAIT_SECONDS / 2, "only the first finds out"
    assert audit.waiting == 21
    assert not audit.flush(0.05)
    table.is_away = False
    assert audit.flush(10)
    assert [row.operation for row in table.rows] == ["first", *["later"] * 20]
    assert audit.lost == 0
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert [text.partition(",")[0] for text in told] == [
        "the audit's table cannot be written",
        "21 acts of the audit are not in its table: they are in the log",
    ]


def test_what_has_no_room_is_counted_and_told(
    audit: AuditLog, table: StandIn, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(audit_log, "MOST_WAITING", 10)
    monkeypatch.setattr(audit_log, "MOST_REFUSED_WAITING", 5)
    table.is_away = True
    audit.record(an_act("first"))
    for _ in range(50):
        audit.record(an_act("refused", code=401))
    for _ in range(4):
        audit.record(an_act("done"))
    assert audit.lost == 45, "a flood of refused acts leaves room for others"
    audit.record(an_act("too much"))
    assert audit.lost == 46
    assert sum("not in the audit's table since the start" in record.getMessage() for record in caplog.records) == 1
    lines = [record for record in caplog.records if record.name == audit_log.AUDIT]
    assert len(lines) == 56, "all of them are in the log"
    table.is_away = False
    assert audit.flush(10)
    assert [row.operation for row in table.rows] == ["first", *["refused"] * 5, *["done"] * 4]


def test_an_act_that_cannot_be_written_keeps_no_other_back(audit: AuditLog, table: StandIn) -> None:
    table.is_free.clear()
    threading.Timer(0.2, table.is_free.set).start()
    operations = iter(["a", "b", "bad", "c", "d"])
    all_at_once(5, lambda: audit.record(an_act(next(operations))))
    assert audit.flush(10)
    assert sorted(row.operation for row in table.rows) == ["a", "b", "c", "d"]
    assert audit.lost == 1
    audit.record(an_act("after"))
    assert table.rows[-1].operation == "after"


def test_the_thread_ends_when_there_is_nothing_to_write(
    audit: AuditLog, table: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_log, "IDLE_SECONDS", 0.05)
    others = set(threading.enumerate())  # other tests' audits may still have theirs
    for count in (1, 2):
        audit.record(an_act())
        deadline = time.monotonic() + 10
        while set(threading.enumerate()) - others and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not set(threading.enumerate()) - others
        assert len(table.rows) == count


def test_a_thread_that_fails_is_followed_by_another(
    audit: AuditLog, table: StandIn, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(audit, "_write", lambda: 1 / 0)
        audit.record(an_act("first"))
    assert audit.waiting == 1
    assert any("the thread that writes the audit's table failed" in record.getMessage() for record in caplog.records)
    audit.record(an_act("second"))
    assert audit.flush(10)
    assert [row.operation for row in table.rows] == ["first", "second"]


def test_what_others_write_is_harmless_and_bounded() -> None:
    row = audit_row(
        "A/b/write\n",
        "/subscriptions/S\x1b[2J1/resourceGroups/G\x00" + "x" * 2000,
        who=Who("An\rna\x1b]0;title\x07" + "y" * 500, "i", CallerKind.USER, "z" * 99),
        cause=Cause("c" * 99, "r" * 99, "M" * 99),
        moment=NOW,
        outcome=Outcome(400, "E" * 999),
        detail={str(number): "\n" * 5000 for number in range(99)},
    )
    texts = [value for value in vars(row).values() if isinstance(value, str)]
    texts += [text for pair in row.detail.items() for text in pair]
    assert all(text.isprintable() for text in texts)
    assert max(map(len, texts)) <= 1100
    assert len(row.detail) == 20
    assert plain("real\rfake", 99) == "real\\rfake", "nothing stands hidden behind a carriage return"


@pytest.mark.parametrize(
    ("resource_id", "subscription", "group"),
    [
        (TEMPLATE, "s1", "rg1"),
        ("/subscriptions/S1", "s1", ""),
        ("/subscriptions/S1/resourceGroups/Rg1", "s1", "rg1"),
        ("/subscriptions/S1/providers/A/b/c", "s1", ""),
        ("/providers/Microsoft.Authorization/roleAssignments/x", "", ""),
        ("", "", ""),
    ],
)
def test_an_act_belongs_to_the_subscription_and_group_of_its_resource(
    resource_id: str, subscription: str, group: str
) -> None:
    row = audit_row("Microsoft.X/y/write", resource_id, who=ANNA, cause=new_cause(), moment=NOW)
    assert (row.subscription_id, row.resource_group, row.provider) == (subscription, group, "microsoft.x")


@pytest.mark.parametrize(
    ("outcome", "status", "is_refused"),
    [
        (Outcome(), "Succeeded", False),
        (Outcome(201), "Succeeded", False),
        (Outcome(202), "Accepted", False),
        (Outcome(400), "Failed", False),
        (Outcome(401), "Failed", True),
        (Outcome(403), "Failed", True),
        (Outcome(0, "Broken"), "Failed", False),
    ],
)
def test_the_status_follows_from_the_answer(outcome: Outcome, status: str, *, is_refused: bool) -> None:
    row = audit_row("A/b/write", TEMPLATE, who=SERVICE, cause=new_cause(), moment=NOW, outcome=outcome)
    assert (row.status, row.is_refused) == (status, is_refused)


def test_a_command_records_at_once_and_as_the_user(tmp_path: Path) -> None:
    with opened(tmp_path / "db") as store:
        row = audit_row("A/b/write", TEMPLATE, who=operator(), cause=new_cause(), moment=store.now())
        record_here(store.audit, row)
        (found,) = store.audit.find(AuditQuery("s1", row.moment, row.moment), limit=9)
    assert found.caller_kind == "operator"
    assert found.caller


def test_forgetting_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_log, "MOST_FORGOTTEN_ROUNDS", 2)
    with opened(tmp_path / "db", clock=lambda: NOW) as store:
        audit = AuditLog(store.audit, Kept(most=10))
        store.audit.add([an_act() for _ in range(1510)])
        assert [audit.forget(), audit.forget(), audit.forget()] == [1000, 500, 0]
