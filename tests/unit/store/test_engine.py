"""The connection to SQLite."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from vmkiln.store import engine


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
