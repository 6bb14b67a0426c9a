"""The connection to SQLite."""

import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from vmkiln.errors import DatabaseAway
from vmkiln.store import engine
from vmkiln.store.driver import driver_errors


class Contended:
    """A connection whose file other processes are switching to WAL, for so many attempts."""

    def __init__(self, real: sqlite3.Connection, *, refusals: int, code: int = sqlite3.SQLITE_BUSY) -> None:
        self.real, self.refusals, self.code = real, refusals, code

    def execute(self, statement: str) -> sqlite3.Cursor:
        if self.refusals:
            self.refusals -= 1
            error = sqlite3.OperationalError("refused")
            error.sqlite_errorcode = self.code
            raise error
        return self.real.execute(statement)


def journal_mode(connection: sqlite3.Connection) -> Any:
    return connection.execute("PRAGMA journal_mode").fetchone()[0]


def test_the_switch_to_wal_waits_for_others_that_switch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(engine.time, "sleep", waits.append)
    real = sqlite3.connect(tmp_path / "db")
    engine._use_write_ahead_log(Contended(real, refusals=3, code=sqlite3.SQLITE_BUSY_RECOVERY))
    assert journal_mode(real) == "wal"
    assert len(waits) == 3
    real.close()


def test_another_error_is_not_waited_for(tmp_path: Path) -> None:
    real = sqlite3.connect(tmp_path / "db")
    with pytest.raises(sqlite3.OperationalError, match="refused"):
        engine._use_write_ahead_log(Contended(real, refusals=1, code=sqlite3.SQLITE_IOERR))
    real.close()


def test_the_wait_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "BUSY_SECONDS", 0)
    real = sqlite3.connect(tmp_path / "db")
    with pytest.raises(sqlite3.OperationalError, match="refused"):
        engine._use_write_ahead_log(Contended(real, refusals=10**6))
    real.close()


@pytest.mark.parametrize(
    "said",
    [
        "FATAL:  the database system is starting up",
        "FATAL:  the database system is shutting down",
        "FATAL:  the database system is in recovery mode",
        "FATAL:  the database system is not yet accepting connections",
        "FATAL:  the database system is not accepting connections",
        "FATAL:  terminating connection due to administrator command",
        "FATAL:  sorry, too many clients already",
        "server closed the connection unexpectedly",
        "Connection refused",
    ],
)
def test_a_postgresql_that_restarts_is_waited_for(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its words are those of its postmaster, which a client gets before it has a session, and so without a code."""
    asked: list[str] = []

    def connect(*_: object, **__: object) -> Any:
        asked.append(said)
        raise psycopg.OperationalError(f"connection failed: {said}" if len(asked) < 3 else "no such role")

    monkeypatch.setattr(psycopg, "connect", connect)
    monkeypatch.setattr(engine, "CONNECT_AGAIN_SECONDS", 0)
    made = engine.make_engine("postgresql://user@localhost/db")
    with pytest.raises(DatabaseAway, match="no such role"), made.connect():
        pass
    made.dispose()
    assert len(asked) == 3


def test_the_address_of_a_database_is_told_without_secrets() -> None:
    shown = engine.shown_address("postgresql://user:hush@localhost/db?password=hunter22")
    assert "hush" not in shown
    assert "hunter22" not in shown
    assert "localhost/db" in shown


def test_a_pool_that_has_no_connection_left_is_a_database_that_is_away(tmp_path: Path) -> None:
    pool = {"poolclass": sa.QueuePool, "pool_size": 1, "max_overflow": 0, "pool_timeout": 0}
    engines = {use: sa.create_engine(f"sqlite:///{tmp_path}/db", **pool) for use in engine.Use}
    connections = engine.Connections(engines, lambda: datetime.now(UTC))
    uses = {
        engine.Use.WRITES: connections.begin,
        engine.Use.READS: connections.reading,
        engine.Use.RENEWS: connections.renewing,
    }
    for use, asked in uses.items():
        with engines[use].connect(), pytest.raises(DatabaseAway, match="in use"), asked():
            pass
    connections.close()


@pytest.mark.parametrize(
    ("error", "is_away"),
    [
        (psycopg.errors.IdleInTransactionSessionTimeout(), True),
        (psycopg.errors.TransactionTimeout(), True),
        (psycopg.errors.ReadOnlySqlTransaction(), True),  # a standby answers
        (psycopg.errors.AdminShutdown(), True),
        (psycopg.errors.CrashShutdown(), True),
        (psycopg.errors.CannotConnectNow(), True),
        (psycopg.errors.DatabaseDropped(), True),
        (psycopg.errors.IdleSessionTimeout(), True),
        (psycopg.errors.QueryCanceled(), True),
        (psycopg.errors.ConnectionFailure(), True),
        (psycopg.errors.TooManyConnections(), True),
        (psycopg.errors.OutOfMemory(), True),
        (psycopg.errors.DiskFull(), True),
        (psycopg.errors.LockNotAvailable(), True),
        (psycopg.errors.DeadlockDetected(), True),
        (psycopg.errors.InvalidPassword(), True),
        (psycopg.errors.IoError(), True),
        (psycopg.errors.DataCorrupted(), True),
        (psycopg.errors.InternalError_(), True),
        (psycopg.OperationalError("the connection is lost"), True),
        (psycopg.InterfaceError("the connection is closed"), True),
        (psycopg.errors.UniqueViolation(), False),
        (psycopg.errors.SyntaxError(), False),
        (psycopg.errors.InFailedSqlTransaction(), False),
        (psycopg.errors.StatementTooComplex(), False),
        (psycopg.errors.UntranslatableCharacter(), False),
        (psycopg.DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes"), False),
        (sqlite3.OperationalError("database is locked"), True),
        (sqlite3.IntegrityError("UNIQUE constraint failed"), False),
        (ValueError("another"), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_errors_of_drivers_say_whether_the_database_is_away(error: Exception, is_away: bool) -> None:
    assert driver_errors.is_away(error) is is_away


def test_a_damaged_file_is_a_database_that_cannot_be_used(tmp_path: Path) -> None:
    file = tmp_path / "db"
    file.write_bytes(b"no database at all, of more than a hundred bytes " * 20)
    connections = engine.connected(file, lambda: datetime.now(UTC))
    with pytest.raises(DatabaseAway, match="cannot be used") as refused, connections.begin():
        pass
    connections.close()
    assert "restore a back-up" in str(refused.value.hint)
