"""The connection to the database: SQLite in a file, or PostgreSQL by its URL. Every commit is on disk; writers queue.

A writing transaction takes the write lock when it begins, so what it read cannot change before it writes: SQLite's own,
or one advisory lock in PostgreSQL. Readers do not wait for it, and have connections of their own, so that any number of
waiting writers leaves them theirs. PostgreSQL ends a transaction that stands still.
Source: sqlite.org, "Write-Ahead Logging", "PRAGMA synchronous"; SQLAlchemy, "Serializable isolation with pysqlite";
PostgreSQL, "Explicit Locking" and `idle_in_transaction_session_timeout`.
"""

import contextlib
import json
import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextvars import ContextVar
from datetime import datetime
from enum import Enum, auto
from pathlib import Path
from typing import Any, Protocol

import psycopg
import sqlalchemy as sa
import sqlalchemy.orm
from sqlalchemy.engine import Connection, Engine

from vmkiln.errors import DatabaseAway, InputError, StorageFull
from vmkiln.files.durable_file import make_folder, reported
from vmkiln.harmless_text import UNSTORABLE
from vmkiln.store.driver import pinging, write_lock
from vmkiln.store.driver.driver_errors import is_away, is_damaged, is_full, is_unstorable
from vmkiln.store.driver.pooler import configure
from vmkiln.store.moving import moved_mark

BUSY_SECONDS = 30
RETRY_SECONDS = 0.02
FENCE = "vmkiln_fence"  # the option of an engine that writes for a run: its id, and the incarnation of its host
OF_RUN = "vmkiln_of_run"  # the option of one that writes rows of that run only
PATIENCE_SECONDS = 10.0  # how long PostgreSQL is waited for when it goes away, as it does when it restarts
CONNECT_SECONDS = 10
# Without these a connection to a machine that lost its power is waited for, for a quarter of an hour.
DEAD_PEER = {
    "connect_timeout": CONNECT_SECONDS,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
CONNECT_AGAIN_SECONDS = 0.25
AWAY = (  # what libpq says of a server that may be back in a moment
    "refused",
    "the database system is",  # starting up, shutting down, in recovery mode, not (yet) accepting connections
    "terminating connection",  # it shuts down, or another of its processes crashed, while it looks who we are
    "closed the connection",
    "reset by peer",
    "timeout expired",
    "No such file",
    "too many clients",
    "connection slots are reserved",
)
IDLE_SECONDS = 10
LOCK_SECONDS = IDLE_SECONDS + 5.0  # in which the writers' lock is given up by who stands still with it
MOST_WRITERS = 2  # connections of one process: one that writes and the next; a server takes 100 of all hosts by default
MOST_READERS = 3
DRIVER = "postgresql+psycopg"
SCHEMES = ("postgresql", "postgres", DRIVER)


def shown_address(address: Path | str) -> str:
    """The address of a database as errors tell it: a path, or a URL without its password and its query, which may hold
    one too; pure. Raises: `InputError` for no URL."""
    if isinstance(address, Path):
        return str(address)
    return database_url(address).set(query={}).render_as_string(hide_password=True)


class Use(Enum):
    """What the connections of an engine are for. `RENEWS` is one connection for one row, that waits for no writer."""

    WRITES = auto()
    READS = auto()
    RENEWS = auto()


def make_engine(address: Path | str, use: Use = Use.WRITES) -> Engine:
    """An engine for the SQLite file at a path (made with mode 0600 when it is missing), or for a PostgreSQL URL.

    Only those that write take the writers' lock; in PostgreSQL others have no transactions either, for each query sees
    what was committed when it began. What is done with it raises `DatabaseAway` when the database cannot be used.
    """
    if isinstance(address, str):
        return _postgresql(address, use)
    return _sqlite(address, use)


def database_url(text: str) -> sa.URL:
    """A PostgreSQL URL as SQLAlchemy takes it; pure. Raises: `InputError`, without the password."""
    try:
        url = sa.make_url(text)
    except sa.exc.ArgumentError as error:
        raise InputError("VMKILN_DATABASE_URL is no URL", hint="postgresql://USER:PASSWORD@HOST/DATABASE") from error
    if url.drivername not in SCHEMES:
        raise InputError(
            f"VMKILN_DATABASE_URL: `{url.drivername}` is no database that is known here",
            hint="write postgresql://..., or leave it out for SQLite in the state directory",
        )
    return url.set(drivername=DRIVER)


def _json_text(value: Any) -> str:
    """A value as JSON that both databases can look into: NUL and halves of surrogate pairs are U+FFFD in it."""
    text = json.dumps(value)
    return json.dumps(storable(value)) if "\\u0000" in text or "\\ud" in text else text


def storable(value: Any) -> Any:
    """A value without what PostgreSQL cannot keep in a text: NUL and halves of surrogate pairs; pure."""
    match value:
        case str():
            return UNSTORABLE.sub("\ufffd", value)
        case dict():
            return {storable(name): storable(item) for name, item in value.items()}
        case list() | tuple():
            return [storable(item) for item in value]
    return value


def _pool(use: Use) -> dict[str, Any]:
    """How many connections an engine keeps, and how long one is waited for."""
    most = {Use.WRITES: MOST_WRITERS, Use.READS: MOST_READERS, Use.RENEWS: 1}[use]
    return {"pool_size": most, "max_overflow": 0, "pool_timeout": BUSY_SECONDS}


def _postgresql(text: str, use: Use) -> Engine:
    url = database_url(text)
    ours = {"application_name": "vmkiln"}
    engine = sa.create_engine(
        url,
        connect_args={**{name: value for name, value in DEAD_PEER.items() if name not in url.query}, **ours},
        json_serializer=_json_text,
        pool_pre_ping=use is not Use.RENEWS,  # that is asked again at once when it fails
        hide_parameters=True,
        **_pool(use),
        isolation_level="AUTOCOMMIT",  # of the driver: what begins a transaction is sent by us, with its lock
    )
    pinging.leave_out_where_trusted(engine)
    _report_in_our_words(engine, shown_address(text))

    session = {
        "idle_in_transaction_session_timeout": f"{IDLE_SECONDS}s",
        "lock_timeout": f"{BUSY_SECONDS}s",
        "timezone": "UTC",
    }
    outage: list[float] = []  # when it began, while there is one
    known: list[bool] = []  # whether it was reached before: then whatever it says when it is not, in any language

    @sa.event.listens_for(engine, "do_connect")
    def _connect(_dialect: Any, _record: Any, arguments: list[Any], options: dict[str, Any]) -> Any:
        """Wait for a server that restarts, but once in an outage and not with every query of it."""
        while True:
            try:
                connection = psycopg.connect(*arguments, **options)
                configure(connection, session, another=lambda: psycopg.connect(*arguments, **options))
            except psycopg.OperationalError as error:
                now = time.monotonic()
                outage[:] = outage[:1] or [now]
                if now - outage[0] > PATIENCE_SECONDS or not (known or any(text in str(error) for text in AWAY)):
                    raise
            else:
                outage.clear()
                known[:] = [True]
                return connection
            time.sleep(CONNECT_AGAIN_SECONDS)

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        if use is Use.WRITES:
            options = connection.get_execution_options()
            write_lock.begin(connection, options.get(FENCE), of_run=options.get(OF_RUN, False))

    return engine


def _report_in_our_words(engine: Engine, name: str) -> None:
    """Tell what keeps the database from working (a full or broken disk, a server that is away) as an error of ours."""

    @sa.event.listens_for(engine, "handle_error")
    def _report(context: sa.engine.ExceptionContext) -> None:
        cause = context.original_exception
        if context.is_pre_ping:
            return  # the pool finds out that a connection is dead, and makes a new one
        if is_away(cause):
            text = f"the database {name} cannot be used: {cause}"
            if is_damaged(cause):
                raise DatabaseAway(text, hint="it is damaged: restore a back-up of it (docs/operations.md)") from cause
            raise (StorageFull(text) if is_full(cause) else DatabaseAway(text)) from cause
        if moved_mark.is_refused(cause):
            raise moved_mark.DatabaseMoved(f"the database {name} was moved meanwhile", hint=moved_mark.HINT) from cause
        if is_unstorable(cause):
            hint = "leave out NUL and halves of surrogate pairs"
            raise InputError("a text holds a character that no database can keep", hint=hint) from cause


def _sqlite(path: Path, use: Use) -> Engine:
    make_folder(path.parent)
    with reported(f"making the database {path}"):
        path.touch(mode=0o600)
    url = sa.URL.create("sqlite", database=str(path))  # of its parts, for a path may have a `?`
    engine = sa.create_engine(
        url,
        connect_args={"timeout": BUSY_SECONDS},
        json_serializer=_json_text,
        poolclass=sa.QueuePool,
        **_pool(use),
    )
    _report_in_our_words(engine, str(path))

    @sa.event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # we begin transactions ourselves
        _use_write_ahead_log(connection)
        for setting in ("synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
            connection.execute(f"PRAGMA {setting}").close()

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN" if use is Use.READS else "BEGIN IMMEDIATE")
        fence = connection.get_execution_options().get(FENCE)
        if fence is not None:
            write_lock.check_of_sqlite(connection, fence)

    return engine


def _use_write_ahead_log(connection: Any) -> None:
    """Switch the file to WAL, for ever; SQLite does not wait for others that are switching it too, so we do."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL").close()
            return
        except sqlite3.OperationalError as error:
            primary_code = error.sqlite_errorcode & 0xFF
            if primary_code != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
        time.sleep(RETRY_SECONDS)


class Beside(Protocol):
    """Something to record in the same transaction as a change."""

    def write(self, connection: Connection) -> bool:
        """Record it; false when that is not needed any more."""

    def undone(self) -> None:
        """The transaction that it was recorded in was undone."""


beside: ContextVar[Beside | None] = ContextVar("beside", default=None)  # of what is changed in this context


class Connections:
    """What every table works with: an engine for each use. `clock` gives the time in UTC."""

    def __init__(
        self, engines: Mapping[Use, Engine], clock: Callable[[], datetime], *, of_run: Engine | None = None
    ) -> None:
        self._engines = engines
        self._of_run = of_run
        self.clock = clock

    @property
    def engines(self) -> Collection[Engine]:
        """All of them."""
        return self._engines.values()

    @property
    def writing(self) -> Engine:
        """The one that writes."""
        return self._engines[Use.WRITES]

    def fenced(self, run_id: str, *, incarnation: str) -> "Connections":
        """The same for what a host does for a run: it writes only while that host has the run.

        Its transactions raise `RunTakenOver` otherwise, when they begin. So a host that stood still, and whose runs
        were given to others meanwhile, can change nothing when it wakes up.
        """
        writing = self.writing.execution_options(**{FENCE: (run_id, incarnation)})
        engines = {**self._engines, Use.WRITES: writing}
        return Connections(engines, self.clock, of_run=writing.execution_options(**{OF_RUN: True}))

    def close(self) -> None:
        """Close every connection; one that a thread still uses is closed when that gives it back."""
        for engine in self.engines:
            sa.event.listen(engine, "checkin", _close_it)
            engine.dispose()

    def now(self) -> datetime:
        """The time now (UTC)."""
        return self.clock()

    @contextlib.contextmanager
    def begin(self, *, of_run: bool = False) -> Iterator[Connection]:
        """One transaction that may write; it is committed at the end of the block, or undone by an exception.

        With `of_run` it reads and writes rows of one run only. Where this is fenced it waits for no other run then.
        What is to be recorded `beside` a change of this context goes with it, or with none of it.
        Raises: `DatabaseAway` when all connections that write stay in use; whatever the engine reports.
        """
        more, is_written, is_whole = beside.get(), False, False
        alone = self._of_run if of_run and more is None else None
        try:
            with _in_time(), contextlib.ExitStack() as stack:
                connection = _begun(alone or self.writing, stack)
                yield connection
                is_written = more is not None and more.write(connection)
                is_whole = True
        except BaseException as error:
            if isinstance(error, DatabaseAway):
                error.is_in_doubt = is_whole  # it failed in its commit, or nobody heard the answer
            if more is not None and is_written:
                more.undone()
            raise

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection that only reads, and waits for nobody who writes. Raises: as `begin`, of those that read."""
        with _in_time(), self._engines[Use.READS].connect() as connection:
            yield connection

    @contextlib.contextmanager
    def renewing(self) -> Iterator[Connection]:
        """The one connection for one statement that waits for nobody who writes. Raises: as `begin`."""
        with _in_time(), self._engines[Use.RENEWS].begin() as connection:
            yield connection

    def rows(self, query: sa.Select[Any], values: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """What a query finds. It is asked again when its connection turns out to be dead."""
        with pinging.trusted(), self.reading() as connection:
            try:
                return [dict(row) for row in connection.execute(query, values).mappings()]
            except DatabaseAway:
                if not connection.invalidated:
                    raise
        with self.reading() as connection:
            return [dict(row) for row in connection.execute(query, values).mappings()]

    def change(
        self, statement: sa.Update | sa.Delete, values: Mapping[str, Any] | None = None, *, of_run: bool = False
    ) -> int:
        """Make one change in a transaction of its own, as `begin`; returns how many rows it met."""
        with self.begin(of_run=of_run) as connection:
            return connection.execute(statement, values).rowcount


def connected(address: Path | str, clock: Callable[[], datetime]) -> Connections:
    """The connections of this process to a database; the first is opened when it is needed. Raises: `InputError`."""
    return Connections({use: make_engine(address, use) for use in Use}, clock)


def _begun(engine: Engine, stack: contextlib.ExitStack) -> Connection:
    """A connection with a transaction that ends with the stack; to begin it shows whether the connection is alive."""
    try:
        with pinging.trusted():
            connection = stack.enter_context(engine.connect())
        transaction = connection.begin()
    except write_lock.ConnectionGone:
        connection = stack.enter_context(engine.connect())
        transaction = connection.begin()
    stack.enter_context(transaction)
    return connection


def _close_it(_connection: Any, record: sa.pool.ConnectionPoolEntry) -> None:
    """Instead of keeping a connection for the next who asks."""
    record.invalidate()


@contextlib.contextmanager
def _in_time() -> Iterator[None]:
    """A pool that has no connection to give for long is no answer of the database, which the engine would report."""
    try:
        yield
    except sa.exc.TimeoutError as error:
        raise DatabaseAway("all connections to the database are in use, and stay so") from error
