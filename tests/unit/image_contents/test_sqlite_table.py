"""What SQLite wrote is read without SQLite, whatever the size of its pages and rows."""

import sqlite3
from pathlib import Path

import pytest

from vmkiln.image_contents.sqlite_table import rows_of

LENGTHS = (0, 5, 470, 480, 4060, 4061, 4070, 10_000, 70_000, 300_000)


@pytest.mark.parametrize("page", [512, 4096, 65536])
def test_every_row_that_sqlite_wrote_is_read(tmp_path: Path, page: int) -> None:
    connection = sqlite3.connect(tmp_path / "db")
    connection.execute(f"PRAGMA page_size={page}")
    connection.execute("CREATE TABLE other (a)")
    connection.execute("CREATE TABLE wanted (a INTEGER PRIMARY KEY, b BLOB, c INTEGER)")
    rows = [(bytes([number % 256]) * LENGTHS[number % len(LENGTHS)], number * 1000 - 5000) for number in range(300)]
    connection.executemany("INSERT INTO wanted (b, c) VALUES (?, ?)", rows)
    connection.commit()
    connection.close()
    assert [row[1:] for row in rows_of((tmp_path / "db").read_bytes(), "wanted")] == rows
