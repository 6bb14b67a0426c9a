"""The connection to SQLite: every commit is on disk, writers queue, readers do not wait.

A writing transaction takes the write lock when it begins, so what it read cannot change before it writes.
Source: sqlite.org, "Write-Ahead Logging", "PRAGMA synchronous"; SQLAlchemy, "Serializable isolation with pysqlite".
"""

import json
import sqlite3
import time
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

BUSY_SECONDS = 30
RETRY_SECONDS = 0.02
READS = "vmkiln_reads"  # the execution option of an engine whose transactions do not write


def make_engine(path: Path) -> Engine:
    """An engine for the database at `path`, whose file is made when it is missing (mode 0600)."""
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
