"""The connection to the database: SQLite in a file, or PostgreSQL by its URL. Every commit is on disk; writers queue.

A writing transaction takes the write lock when it begins, so what it read cannot change before it writes: SQLite's own,
or one advisory lock in PostgreSQL. Readers do not wait for it. It ends what stands still.
Source: sqlite.org, "Write-Ahead Logging", "PRAGMA synchronous"; SQLAlchemy, "Serializable isolation with pysqlite";
PostgreSQL, "Explicit Locking" and `idle_in_transaction_session_timeout`.
"""

import json
import sqlite3
import time
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from vmkiln.errors import InputError

BUSY_SECONDS = 30
RETRY_SECONDS = 0.02
READS = "vmkiln_reads"  # the execution option of an engine whose transactions do not write
WRITE_LOCK = 0x766D6B696C6E  # any number, as long as it is always the same
IDLE_SECONDS = 10
POOL_SIZE = 16
DRIVER = "postgresql+psycopg"
SCHEMES = ("postgresql", "postgres", DRIVER)


def make_engine(place: Path | str) -> Engine:
    """An engine for the SQLite file at a path (made with mode 0600 when it is missing), or for a PostgreSQL URL."""
    return _postgresql(place) if isinstance(place, str) else _sqlite(place)


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


def _postgresql(text: str) -> Engine:
    timeouts = f"-c idle_in_transaction_session_timeout={IDLE_SECONDS}s -c lock_timeout={BUSY_SECONDS}s -c timezone=UTC"
    engine = sa.create_engine(
        database_url(text),
        connect_args={"options": timeouts, "connect_timeout": BUSY_SECONDS, "application_name": "vmkiln"},
        json_serializer=json.dumps,
        pool_pre_ping=True,
        pool_size=POOL_SIZE,
        hide_parameters=True,
    )

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        if not connection.get_execution_options().get(READS, False):
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({WRITE_LOCK})")

    return engine


def _sqlite(path: Path) -> Engine:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.touch(mode=0o600)
    engine = sa.create_engine(f"sqlite:///{path}", connect_args={"timeout": BUSY_SECONDS}, json_serializer=json.dumps)

    @sa.event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # we begin transactions ourselves
        _use_write_ahead_log(connection)
        for setting in ("synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {setting}").close()

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        reads = connection.get_execution_options().get(READS, False)
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

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
