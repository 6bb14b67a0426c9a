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
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import psycopg
import sqlalchemy as sa
import sqlalchemy.orm
from sqlalchemy.engine import Connection, Engine

from vmkiln.errors import DatabaseAway, InputError, RunTakenOver, StorageFull
from vmkiln.files.durable_file import make_folder, reported
from vmkiln.harmless_text import UNSTORABLE
from vmkiln.store.moving import moved_mark

BUSY_SECONDS = 30
RETRY_SECONDS = 0.02
FENCE = "vmkiln_fence"  # the option of an engine that writes for a run: its id, and the incarnation of its host
PATIENCE_SECONDS = 10.0  # how long PostgreSQL is waited for when it goes away, as it does when it restarts
CONNECT_SECONDS = 10
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
WRITE_LOCK = f"pg_advisory_xact_lock({0x766D6B696C6E})"  # any number, as long as it is always the same
HAS_THE_RUN = "SELECT 1 FROM vmkiln_reservation WHERE run_id = ? AND boot = ?"
# In one statement what was deleted while it waited for the lock would still be seen, if the row were only read: it is
# locked too, and to lock a row is to find out whether it is still there (PostgreSQL, "Read Committed Isolation Level").
LOCK_AND_HAS_THE_RUN = (
    f"WITH waited AS MATERIALIZED (SELECT {WRITE_LOCK}) SELECT 1 FROM vmkiln_reservation AS kept, waited "  # noqa: S608
    "WHERE kept.run_id = %s AND kept.boot = %s FOR KEY SHARE OF kept"
)
IDLE_SECONDS = 10
DISK_FULL = "53100"
AWAY_CLASSES = frozenset({"08", "28", "40", "53", "55", "57", "58", "XX"})  # the first two letters of an SQLSTATE
AWAY_STATES = frozenset({"25006", "25P03", "25P04"})  # a standby; a transaction that stood still, or took too long
REFUSED_TEXTS = frozenset({"22021", "22P05", None})  # None: the driver itself refused it
DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
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


def make_engine(address: Path | str, *, only_reads: bool = False) -> Engine:
    """An engine for the SQLite file at a path (made with mode 0600 when it is missing), or for a PostgreSQL URL.

    With `only_reads` its transactions take no lock; in PostgreSQL there are none either, for each query sees what was
    committed when it began in any case. What is done with it raises `DatabaseAway` when the database cannot be used.
    """
    if isinstance(address, str):
        return _postgresql(address, only_reads=only_reads)
    return _sqlite(address, only_reads=only_reads)


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


def _pool(*, only_reads: bool) -> dict[str, Any]:
    """How many connections an engine keeps, and how long one is waited for."""
    return {"pool_size": MOST_READERS if only_reads else MOST_WRITERS, "max_overflow": 0, "pool_timeout": BUSY_SECONDS}


def _postgresql(text: str, *, only_reads: bool) -> Engine:
    timeouts = f"-c idle_in_transaction_session_timeout={IDLE_SECONDS}s -c lock_timeout={BUSY_SECONDS}s -c timezone=UTC"
    engine = sa.create_engine(
        database_url(text),
        connect_args={"options": timeouts, "connect_timeout": CONNECT_SECONDS, "application_name": "vmkiln"},
        json_serializer=_json_text,
        pool_pre_ping=True,
        hide_parameters=True,
        **_pool(only_reads=only_reads),
        **({"isolation_level": "AUTOCOMMIT"} if only_reads else {}),
    )

    _report_in_our_words(engine, shown_address(text))

    outage: list[float] = []  # when it began, while there is one

    @sa.event.listens_for(engine, "do_connect")
    def _connect(_dialect: Any, _record: Any, arguments: list[Any], options: dict[str, Any]) -> Any:
        """Wait for a server that restarts, but once in an outage and not with every query of it."""
        while True:
            try:
                connection = psycopg.connect(*arguments, **options)
            except psycopg.OperationalError as error:
                now = time.monotonic()
                outage[:] = outage[:1] or [now]
                if now - outage[0] > PATIENCE_SECONDS or not any(text in str(error) for text in AWAY):
                    raise
            else:
                outage.clear()
                return connection
            time.sleep(CONNECT_AGAIN_SECONDS)

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        if only_reads:
            return
        fence = connection.get_execution_options().get(FENCE)
        if fence is not None:
            _check_fence(connection, LOCK_AND_HAS_THE_RUN, fence)
        else:
            connection.exec_driver_sql(f"SELECT {WRITE_LOCK}")

    return engine


def _check_fence(connection: Connection, query: str, fence: tuple[str, str]) -> None:
    if connection.exec_driver_sql(query, fence).first() is None:
        connection.exec_driver_sql("ROLLBACK")
        raise RunTakenOver(f"the run {fence[0]} was given to another host", hint="this host's lease had run out")


def _report_in_our_words(engine: Engine, name: str) -> None:
    """Tell what keeps the database from working (a full or broken disk, a server that is away) as an error of ours."""

    @sa.event.listens_for(engine, "handle_error")
    def _report(context: sa.engine.ExceptionContext) -> None:
        cause = context.original_exception
        if context.is_pre_ping:
            return  # the pool finds out that a connection is dead, and makes a new one
        if is_away(cause):
            kind = StorageFull if is_full(cause) else DatabaseAway
            raise kind(f"the database {name} cannot be used: {cause}") from cause
        if moved_mark.is_refused(cause):
            raise moved_mark.DatabaseMoved(f"the database {name} was moved meanwhile", hint=moved_mark.HINT) from cause
        if is_unstorable(cause):
            hint = "leave out NUL and halves of surrogate pairs"
            raise InputError("a text holds a character that no database can keep", hint=hint) from cause


def is_away(error: BaseException) -> bool:
    """Whether an error says that a database cannot be used now, and not that what it was asked is wrong; pure.

    The drivers' classes alone do not tell: psycopg's `InternalError` has transactions that the server ended because
    they stood still, and SQLite's `DatabaseError` has damaged files. Where there is no code, as when a connection
    breaks off, they do.
    Source: PostgreSQL, "Error Codes"; psycopg, "sqlstate exceptions"; sqlite.org, "Result Codes".
    """
    if state := getattr(error, "sqlstate", None):
        return state[:2] in AWAY_CLASSES or state in AWAY_STATES
    if getattr(error, "sqlite_errorcode", 0) & 0xFF in DAMAGED:
        return True
    drivers = psycopg.OperationalError | psycopg.InterfaceError | sqlite3.OperationalError | sqlite3.InterfaceError
    return isinstance(error, drivers)


def is_unstorable(error: BaseException) -> bool:
    """Whether an error says that a text has NUL, which PostgreSQL cannot keep, or is no Unicode; pure."""
    is_nul = isinstance(error, psycopg.DataError) and error.sqlstate in REFUSED_TEXTS
    return is_nul or isinstance(error, UnicodeEncodeError)


def is_full(error: BaseException) -> bool:
    """Whether a database says that its disk is full; pure. Source: sqlite.org, "Result Codes"; PostgreSQL, 53100."""
    code = getattr(error, "sqlite_errorcode", 0)
    is_sqlite = code & 0xFF == sqlite3.SQLITE_FULL or code == sqlite3.SQLITE_IOERR_SHMSIZE
    return is_sqlite or getattr(error, "sqlstate", None) == DISK_FULL


def _sqlite(path: Path, *, only_reads: bool) -> Engine:
    make_folder(path.parent)
    with reported(f"making the database {path}"):
        path.touch(mode=0o600)
    url = sa.URL.create("sqlite", database=str(path))  # of its parts, for a path may have a `?`
    engine = sa.create_engine(
        url,
        connect_args={"timeout": BUSY_SECONDS},
        json_serializer=_json_text,
        poolclass=sa.QueuePool,
        **_pool(only_reads=only_reads),
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
        connection.exec_driver_sql("BEGIN" if only_reads else "BEGIN IMMEDIATE")
        fence = connection.get_execution_options().get(FENCE)
        if fence is not None:
            _check_fence(connection, HAS_THE_RUN, fence)

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
    """What every table works with: the engines that write and that only read. `clock` gives the time in UTC."""

    def __init__(self, writing: Engine, reading: Engine, clock: Callable[[], datetime]) -> None:
        self._writing = writing
        self._reading = reading
        self._clock = clock

    @property
    def engines(self) -> tuple[Engine, Engine]:
        """The one that writes, and the one that only reads."""
        return self._writing, self._reading

    def fenced(self, run_id: str, *, incarnation: str) -> "Connections":
        """The same for what a host does for a run: it writes only while that host has the run.

        Its transactions raise `RunTakenOver` otherwise, when they begin. So a host that stood still, and whose runs
        were given to others meanwhile, can change nothing when it wakes up.
        """
        writing = self._writing.execution_options(**{FENCE: (run_id, incarnation)})
        return Connections(writing, self._reading, self._clock)

    def close(self) -> None:
        """Close every connection; one that a thread still uses is closed when that gives it back."""
        for engine in self.engines:
            sa.event.listen(engine, "checkin", _close_it)
            engine.dispose()

    def now(self) -> datetime:
        """The time now (UTC)."""
        return self._clock()

    @contextlib.contextmanager
    def begin(self) -> Iterator[Connection]:
        """One transaction that may write; it is committed at the end of the block, or undone by an exception.

        What is to be recorded `beside` a change of this context goes with it, or with none of it.
        Raises: `DatabaseAway` when all connections that write stay in use; whatever the engine reports.
        """
        more, is_written = beside.get(), False
        try:
            with _in_time(), self._writing.begin() as connection:
                yield connection
                is_written = more is not None and more.write(connection)
        except BaseException:
            if more is not None and is_written:
                more.undone()
            raise

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection that only reads, and waits for nobody who writes. Raises: as `begin`, of those that read."""
        with _in_time(), self._reading.connect() as connection:
            yield connection

    def rows(self, query: sa.Select[Any], values: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """What a query finds."""
        with self.reading() as connection:
            return [dict(row) for row in connection.execute(query, values).mappings()]

    def change(self, statement: sa.Update | sa.Delete, values: Mapping[str, Any] | None = None) -> int:
        """Make one change in a transaction of its own; returns how many rows it met."""
        with self.begin() as connection:
            return connection.execute(statement, values).rowcount


def connected(address: Path | str, clock: Callable[[], datetime]) -> Connections:
    """The connections of this process to a database; the first is opened when it is needed. Raises: `InputError`."""
    return Connections(make_engine(address), make_engine(address, only_reads=True), clock)


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


def database_time(connection: Connection) -> float:
    """The database's clock, in seconds since 1970, moving on inside a transaction."""
    if connection.dialect.name == "postgresql":
        return float(connection.exec_driver_sql("SELECT extract(epoch FROM clock_timestamp())").scalar_one())
    return float(connection.exec_driver_sql("SELECT (julianday('now') - 2440587.5) * 86400.0").scalar_one())
