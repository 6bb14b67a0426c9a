"""The audit: every act goes to the service's log at once, and to the database a moment later, many in one transaction.

Whoever was answered finds the act in the table, for the request waits until it is there: as long as others write, that
is one commit that all of them share. It does not wait for a database that is away or stuck: then the act is kept in
memory and written later. Nothing here fails a request. What has no room in memory is in the log only, and is counted.
docs/decisions/0018-the-audit.md says why.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice

from vmkiln.errors import StorageFailed
from vmkiln.process_log import AUDIT
from vmkiln.store.audit_table import AuditTable
from vmkiln.store.rows import AuditRow

MOST_WAITING = 10_000
MOST_REFUSED_WAITING = 5_000  # a flood of them leaves room for what was done
MOST_AT_ONCE = 500
WAIT_SECONDS = 1.0
RETRY_SECONDS = 1.0
IDLE_SECONDS = 5.0
TELL_SECONDS = 60.0
MOST_FORGOTTEN_ROUNDS = 20
FORGET_SECONDS = 60.0
log = logging.getLogger(__name__)
_lines = logging.getLogger(AUDIT)


@dataclass(frozen=True)
class Kept:
    """How long the table keeps acts, and how many; as long as Azure keeps its activity log, unless told otherwise."""

    days: float = 90.0
    most: int = 1_000_000

    @property
    def most_refused(self) -> int:
        """How many refused ones are kept beside the others."""
        return self.most // 10


def log_always() -> None:
    """Write every act to the log, whatever level the other loggers have: what a service does.

    A command that a user types does not: its act is in the table, and in the log when that is on.
    """
    _lines.setLevel(logging.INFO)


def log_line(row: AuditRow) -> None:
    """Write an act to the log; as JSON it has a member for each part of it."""
    parts = {name: value for name, value in vars(row).items() if name not in {"number", "moment"} and value != ""}
    what = f"{row.operation} {row.status}" + (f" {row.code}" if row.code else "")
    why = f" ({row.error_code})" if row.error_code else ""
    who = f"{row.caller} [{row.caller_kind} {row.caller_id}]" if row.caller_id else row.caller_kind
    where = f" from {row.source}" if row.source else ""
    more = "".join(f" {name}={value}" for name, value in row.detail.items())
    ids = f"correlation={row.correlation_id}" + (f" request={row.request_id}" if row.request_id else "")
    _lines.info("%s%s by %s%s on %s%s %s", what, why, who, where, row.resource_id, more, ids, extra=parts)


class AuditLog:
    """Records acts; from any thread. A thread of its own writes to the table while there is something to write."""

    def __init__(self, table: AuditTable, kept: Kept = Kept()) -> None:
        self._table = table
        self._kept = kept
        self._changed = threading.Condition()
        self._waiting: deque[AuditRow] = deque()
        self._refused_waiting = 0
        self._given = 0  # how many acts had room
        self._settled = 0  # how many of them need no waiting for any more, in their order
        self._writer: threading.Thread | None = None
        self._is_failing = False
        self._lost = 0
        self._told = float("-inf")

    @property
    def lost(self) -> int:
        """How many acts since the start are in the log only."""
        return self._lost

    @property
    def waiting(self) -> int:
        """How many acts are not in the table yet."""
        return len(self._waiting)

    def record(self, row: AuditRow) -> None:
        """Record an act; returns when it is in the table, or after `WAIT_SECONDS`. It raises nothing.

        A refused act is not waited for: whoever may do nothing shall not keep a thread busy either.
        """
        log_line(row)
        with self._changed:
            if not self._has_room(row):
                self._lose(1)
                return
            self._waiting.append(row)
            self._refused_waiting += row.is_refused
            self._given += 1
            number = self._given
            self._wake_writer()
            if not row.is_refused and not self._is_failing:
                self._changed.wait_for(lambda: self._settled >= number or self._is_failing, WAIT_SECONDS)

    def flush(self, seconds: float) -> bool:
        """Wait until all acts are in the table, or for so long; false, and said in the log, when some are not."""
        with self._changed:
            if self._waiting:
                self._wake_writer()
            is_done = self._changed.wait_for(lambda: not self._waiting, seconds)
            if not is_done:
                log.error("%d acts of the audit are not in its table: they are in the log", len(self._waiting))
            return is_done

    def forget(self) -> int:
        """Delete what is too old, and the oldest of what is too much; returns how many rows.

        One call has an end, however much there is. Raises: `StorageFailed`.
        """
        oldest = self._table.now() - timedelta(days=self._kept.days)
        total = 0
        for _ in range(MOST_FORGOTTEN_ROUNDS):
            most, most_refused = self._kept.most, self._kept.most_refused
            count = self._table.forget(older_than=oldest, most=most, most_refused=most_refused)
            total += count
            if not count:
                break
        return total

    # the writer

    def _has_room(self, row: AuditRow) -> bool:
        if row.is_refused and self._refused_waiting >= MOST_REFUSED_WAITING:
            return False
        return len(self._waiting) < MOST_WAITING

    def _wake_writer(self) -> None:
        if self._writer is None:
            writer = threading.Thread(target=self._write_and_tell, name="audit", daemon=True)
            try:
                writer.start()
            except RuntimeError as error:  # no more threads: the next act tries again
                log.error("the audit's table is not written for now: %s", error)
                self._is_failing = True
                return
            self._writer = writer
        self._changed.notify_all()

    def _write_and_tell(self) -> None:
        """What the thread does; whatever ends it unforeseen is told, and the next act starts another."""
        try:
            self._write()
        except BaseException:
            log.exception("the thread that writes the audit's table failed; the next act starts another")
            with self._changed:
                self._writer, self._is_failing = None, True
                self._changed.notify_all()

    def _write(self) -> None:
        careful = 0  # how many acts to write one by one: among them is one that cannot be written
        while batch := self._next_batch(1 if careful else MOST_AT_ONCE):
            try:
                self._table.add(batch)
            except StorageFailed as error:
                self._failed(error)
                time.sleep(RETRY_SECONDS)
            except Exception:
                if len(batch) > 1:
                    careful = len(batch)
                    continue
                log.exception("an act cannot be written to the audit's table: it is in the log only")
                careful = max(0, careful - 1)
                self._done(batch, lost=1)
            else:
                careful = max(0, careful - 1)
                self._done(batch)

    def _next_batch(self, most: int) -> Sequence[AuditRow]:
        """The acts to write next; none when there were none for a while, and the thread is to end."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._waiting, IDLE_SECONDS):
                self._writer = None
                return ()
            return list(islice(self._waiting, most))

    def _done(self, batch: Sequence[AuditRow], *, lost: int = 0) -> None:
        with self._changed:
            for row in batch:
                self._waiting.popleft()
                self._refused_waiting -= row.is_refused
            self._settled += len(batch)
            self._is_failing = False
            if lost:
                self._lose(lost)
            self._changed.notify_all()

    def _failed(self, error: StorageFailed) -> None:
        with self._changed:
            if not self._is_failing:
                log.error("the audit's table cannot be written, acts wait in memory: %s", error)
            self._is_failing = True
            self._changed.notify_all()

    def _lose(self, count: int) -> None:
        self._lost += count
        if time.monotonic() - self._told > TELL_SECONDS:
            self._told = time.monotonic()
            log.error("%d acts are not in the audit's table since the start, for want of room: see the log", self._lost)


def record_here(table: AuditTable, row: AuditRow) -> None:
    """Record an act of this command, which ends when it is done. Raises: `StorageFailed`."""
    log_line(row)
    table.add([row])
