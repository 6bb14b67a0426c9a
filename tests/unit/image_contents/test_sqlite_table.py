"""What SQLite wrote is read without SQLite, whatever the size of its pages and rows."""

import sqlite3
from pathlib import Path

import pytest

from vmkiln.image_contents import sqlite_table
from vmkiln.image_contents.sqlite_table import SqliteRefused, rows_of

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


def _written(path: Path, *rows: tuple[bytes, ...]) -> bytearray:
    connection = sqlite3.connect(path)
    columns = ", ".join(f"c{number}" for number in range(len(rows[0])))
    connection.execute(f"CREATE TABLE wanted ({columns})")
    connection.executemany(f"INSERT INTO wanted VALUES ({', '.join('?' * len(rows[0]))})", rows)  # noqa: S608
    connection.commit()
    connection.close()
    return bytearray(path.read_bytes())


def test_many_cells_that_claim_the_same_bytes_are_refused(tmp_path: Path) -> None:
    file = _written(tmp_path / "db", (bytes(3000),))
    page = 4096  # the second page is the table's: 500 cells, all where its one is
    file[page + 3 : page + 5] = (500).to_bytes(2)
    file[page + 8 : page + 8 + 1000] = bytes(file[page + 8 : page + 10]) * 500
    rows = rows_of(bytes(file), "wanted")
    assert [next(rows), next(rows)] == [(bytes(3000),)] * 2
    with pytest.raises(SqliteRefused, match="longer than the file"):
        next(rows)


def test_more_rows_or_values_than_are_read_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wide = bytes(_written(tmp_path / "wide", (b"",) * (sqlite_table.MOST_VALUES + 1)))
    with pytest.raises(SqliteRefused, match="more than 100 values"):
        list(rows_of(wide, "wanted"))
    long = bytes(_written(tmp_path / "long", *[(b"",)] * 9))
    assert len(list(rows_of(long, "wanted"))) == 9
    monkeypatch.setattr(sqlite_table, "MOST_ROWS", 9)  # with the one of the schema
    with pytest.raises(SqliteRefused, match="more than 9 rows"):
        list(rows_of(long, "wanted"))
