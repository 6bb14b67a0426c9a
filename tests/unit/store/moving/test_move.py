"""Everything that an SQLite database has is moved to PostgreSQL, compared, and the old one is written to no more."""

import contextlib
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from postgresql import Cluster, cluster

from vmkiln.errors import InputError, VmkilnError
from vmkiln.store.database import Store, opened, utc_now
from vmkiln.store.engine import connected
from vmkiln.store.moving import move as moving
from vmkiln.store.moving import moved_mark
from vmkiln.store.moving.move import Moved, move, reopen, would_move
from vmkiln.store.moving.moved_mark import DatabaseMoved
from vmkiln.store.tables import audit, metadata, resources, runs, staging_resources

ROWS = 3
ADDRESS = "postgresql://somewhere/vmkiln"


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    with cluster() as found:
        yield found


@pytest.fixture
def old(tmp_path: Path) -> Iterator[Store]:
    with opened(tmp_path / "vmkiln.sqlite") as store:
        fill(store)
        yield store


@pytest.fixture
def new(server: Cluster, tmp_path: Path) -> Iterator[Store]:
    with opened(server.new_database(), home=tmp_path) as store:
        yield store


def value_for(column: "sa.Column[Any]", number: int) -> Any:
    """A value of a column's kind that is another in each row."""
    match column.type:
        case sa.JSON():
            return {"name": "Jörgen \U0001f525", "list": [number, 1.5, None, True], "deep": {"a": {"b": ""}}}
        case sa.DateTime():
            return datetime(2026, 1, 2, 3, 4, number, 567_891, tzinfo=UTC)
        case sa.Boolean():
            return number % 2 == 0
        case sa.Float():
            return 1_700_000_000.123_456 + number
        case sa.Integer():
            return 100 + number
        case _:
            return f"{number}-ä"


def fill(store: Store) -> None:
    """Rows in every table."""
    with store.connections.begin() as connection:
        for table in metadata.sorted_tables:
            for number in range(ROWS):
                row = {str(column.key): value_for(column, number) for column in table.columns}
                connection.execute(table.insert().values(**row))
        connection.execute(resources.update().where(resources.c.key == "0-ä").values(identity=None))
        connection.execute(runs.update().where(runs.c.run_id == "0-ä").values(ended=None))


def rows_of(store: Store, table: sa.Table) -> list[dict[str, Any]]:
    rows = [dict(row) for row in store.connections.rows(sa.select(table))]
    for row in rows:
        for name, value in row.items():
            if isinstance(value, datetime) and value.tzinfo is None:
                row[name] = value.replace(tzinfo=UTC)
    return sorted(rows, key=repr)


def test_every_row_of_every_table_is_there_afterwards(old: Store, new: Store) -> None:
    would = would_move(old.connections, new.connections)
    before = {table.name: rows_of(old, table) for table in metadata.sorted_tables}
    found = move(old.connections, new.connections, address=ADDRESS)
    assert found == would == Moved({table.name: ROWS for table in metadata.sorted_tables}, 0)
    assert {table.name: rows_of(new, table) for table in metadata.sorted_tables} == before
    assert {table.name: rows_of(old, table) for table in metadata.sorted_tables} == before, "the old one is kept"


def test_what_the_database_numbers_goes_on_behind_what_was_moved(old: Store, new: Store) -> None:
    move(old.connections, new.connections, address=ADDRESS)
    number = new.staging.add_resource("1-ä", run_id="r", type="t", name="n", detail={})
    assert number == 100 + ROWS
    with new.connections.begin() as connection:
        row = {str(column.key): value_for(column, 9) for column in audit.columns if column.name != "number"}
        added = connection.execute(audit.insert().values(**row).returning(audit.c.number)).scalar_one()
    assert added == 100 + ROWS


def test_nothing_writes_to_the_old_database_any_more(old: Store, new: Store, tmp_path: Path) -> None:
    move(old.connections, new.connections, address=ADDRESS)
    for table in metadata.sorted_tables:
        for change in (table.delete(), table.update().values(**{list(table.columns)[-1].key: None})):
            with pytest.raises(DatabaseMoved, match="moved"), old.connections.begin() as connection:
                connection.execute(change)
    with pytest.raises(DatabaseMoved), old.connections.begin() as connection:
        connection.execute(staging_resources.insert().values(group_name="1-ä", run_id="", type="", name="", state=""))
    with pytest.raises(DatabaseMoved, match=f"was moved to {ADDRESS}"), opened(tmp_path / "vmkiln.sqlite"):
        pass
    with contextlib.closing(sqlite3.connect(tmp_path / "vmkiln.sqlite")) as older:
        assert older.execute("SELECT version_num FROM vmkiln_revision").fetchall() == [("moved",)], (
            "no release knows it"
        )
        with pytest.raises(sqlite3.IntegrityError, match="moved"):
            older.execute("DELETE FROM vmkiln_run")


def test_a_move_that_died_before_the_mark_is_ended_by_the_next(
    old: Store, new: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def died(*_arguments: object, **_named: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(moved_mark, "mark", died)
        with pytest.raises(KeyboardInterrupt):
            move(old.connections, new.connections, address=ADDRESS)
    assert rows_of(new, runs) == rows_of(old, runs)
    assert would_move(old.connections, new.connections).was_there
    assert move(old.connections, new.connections, address=ADDRESS).was_there
    with pytest.raises(DatabaseMoved), old.connections.begin() as connection:
        connection.execute(runs.delete())


def test_a_database_with_rows_of_its_own_is_refused_and_stays(old: Store, new: Store) -> None:
    fill(new)
    new.connections.change(runs.update().where(runs.c.run_id == "2-ä").values(message="of its own"))
    before = rows_of(new, runs)
    for act in (would_move, lambda a, b: move(a, b, address=ADDRESS)):
        with pytest.raises(InputError, match="rows of its own"):
            act(old.connections, new.connections)
    assert rows_of(new, runs) == before
    old.connections.change(runs.update().values(message="still written to"))


def test_a_row_that_arrives_changed_is_found_and_nothing_is_moved(
    old: Store, new: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with new.connections.begin() as connection:
        body = "BEGIN NEW.message = 'other'; RETURN NEW; END"
        connection.exec_driver_sql(f"CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS $$ {body} $$")
        connection.exec_driver_sql(
            "CREATE TRIGGER spoil BEFORE INSERT ON vmkiln_run FOR EACH ROW EXECUTE FUNCTION spoil()"
        )
    with pytest.raises(VmkilnError, match="has not what it was given: the run"):
        move(old.connections, new.connections, address=ADDRESS)
    assert all(rows_of(new, table) == [] for table in metadata.sorted_tables)
    old.connections.change(runs.update().values(message="still written to"))


def test_what_postgresql_has_no_room_for_is_named_before(old: Store, new: Store) -> None:
    long = "x" * 100
    old.connections.change(runs.update().where(runs.c.run_id == "1-ä").values(template_name=long))
    for act in (would_move, lambda a, b: move(a, b, address=ADDRESS)):
        with pytest.raises(InputError, match="`template_name` of the run 1-ä"):
            act(old.connections, new.connections)
    assert rows_of(new, runs) == []


def test_a_text_that_postgresql_cannot_keep_is_moved_without_it(old: Store, new: Store) -> None:
    old.connections.change(runs.update().where(runs.c.run_id == "1-ä").values(message="a\0b"))
    assert move(old.connections, new.connections, address=ADDRESS).changed_texts == 1
    assert [row["message"] for row in rows_of(new, runs) if row["run_id"] == "1-ä"] == ["a\ufffdb"]


def test_a_dry_run_makes_nothing_in_the_new_database(old: Store, server: Cluster) -> None:
    with contextlib.closing(connected(server.new_database(), utc_now)) as empty:
        assert would_move(old.connections, empty).count == ROWS * len(metadata.sorted_tables)
        with empty.reading() as connection:
            assert sa.inspect(connection).get_table_names() == []
    old.connections.change(runs.update().values(message="still written to"))


def test_more_rows_than_are_read_at_once_are_moved(old: Store, new: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moving, "ROWS_AT_ONCE", 2)
    before = rows_of(old, audit)
    move(old.connections, new.connections, address=ADDRESS)
    assert rows_of(new, audit) == before


def test_a_move_can_be_taken_back(old: Store, new: Store, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="was not moved"):
        reopen(old.connections)
    move(old.connections, new.connections, address=ADDRESS)
    assert reopen(old.connections) == ADDRESS
    with opened(tmp_path / "vmkiln.sqlite") as store:
        store.connections.change(runs.update().values(message="written again"))
