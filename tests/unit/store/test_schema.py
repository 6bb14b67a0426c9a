"""The database of an older vmkiln is brought up to date."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from postgresql import cluster

from vmkiln.errors import VmkilnError
from vmkiln.store.audit_table import AuditQuery, AuditTable
from vmkiln.store.database import opened, utc_now
from vmkiln.store.engine import Connections, connected
from vmkiln.store.schema import HEAD, REVISIONS, VERSION_TABLE, prepare
from vmkiln.store.tables import metadata

# of an index on what a function gives SQLite tells only the name; PostgreSQL's is compared as a whole
pytestmark = [
    pytest.mark.filterwarnings("ignore:Skipped unsupported reflection of expression-based index"),
    pytest.mark.filterwarnings("ignore:autogenerate skipping metadata-specified expression-based index"),
]
FIRST_BESIDE = "0010"  # hosts of this schema, and of later ones, look whether theirs is still that of the database
RUN = "CREATE TABLE vmkiln_run (run_id VARCHAR(36) PRIMARY KEY, template_name VARCHAR(64) NOT NULL, resource_group VARCHAR(90) NOT NULL, template JSON NOT NULL, state VARCHAR(20) NOT NULL, sub_state VARCHAR(20) NOT NULL, message TEXT NOT NULL, error_code VARCHAR(64) NOT NULL, staging_group VARCHAR(120) NOT NULL, facts JSON NOT NULL, started DATETIME NOT NULL, ended DATETIME)"  # noqa: E501


def old_database(path: Path, version: int) -> Path:
    connection = sqlite3.connect(path)
    connection.execute(RUN)
    connection.execute(
        "INSERT INTO vmkiln_run VALUES ('r1','web','rg','{}','Succeeded','','','','','{}','2026-01-01 00:00:00',NULL)"
    )
    connection.execute("CREATE TABLE vmkiln_staging_resource (number INTEGER PRIMARY KEY)")
    connection.execute("CREATE TABLE vmkiln_schema_version (version INTEGER PRIMARY KEY)")
    connection.execute("INSERT INTO vmkiln_schema_version VALUES (?)", (version,))
    connection.commit()
    connection.close()
    return path


def test_runs_of_the_first_schema_are_kept(tmp_path: Path) -> None:
    path = old_database(tmp_path / "vmkiln.sqlite", 1)
    for _ in range(2):
        with opened(path) as store:
            assert store.runs.find("r1").template_id == ""
            assert store.runs.of_template("/x") == []


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VmkilnError, match="newer"), opened(old_database(tmp_path / "vmkiln.sqlite", 99)):
        pass


@pytest.fixture(params=["SQLite", "PostgreSQL"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Connections]:
    """An empty database of each kind."""
    with contextlib.ExitStack() as stack:
        is_file = request.param == "SQLite"
        place = tmp_path / "db" if is_file else stack.enter_context(cluster()).new_database()
        connections = connected(place, utc_now)
        stack.callback(connections.close)
        yield connections


def test_every_revision_on_the_way_ends_in_the_tables_of_today(database: Connections) -> None:
    config = Config()
    config.set_main_option("script_location", "vmkiln.store:migrations")
    scripts = ScriptDirectory.from_config(config)
    assert scripts.get_heads() == [HEAD]
    assert tuple(revision.revision for revision in reversed(list(scripts.walk_revisions()))) == REVISIONS
    for revision in REVISIONS:
        with database.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
    prepare(database, "the database")
    with database.reading() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE, "compare_type": True})
        assert compare_metadata(context, metadata) == []


def columns_of(database: Connections) -> dict[tuple[str, str], dict[str, Any]]:
    """Every column by its table and its name."""
    with database.reading() as connection:
        found = sa.inspect(connection)
        return {
            (table, column["name"]): {**column, "type": str(column["type"])}
            for table in found.get_table_names()
            for column in found.get_columns(table)
        }


def test_a_migration_only_expands_so_that_the_release_before_goes_on(database: Connections) -> None:
    """Docs/decisions/0055: no column goes or becomes another, and a row without the new ones can still be written."""
    config = Config()
    config.set_main_option("script_location", "vmkiln.store:migrations")
    for revision in REVISIONS:
        before = columns_of(database)
        with database.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
        if revision <= FIRST_BESIDE:
            continue
        after = columns_of(database)
        changed = {name for name, column in before.items() if after.get(name) != column}
        assert changed - {(VERSION_TABLE, "version_num")} == set(), revision
        tables = {table for table, _ in before}
        added = [
            column for (table, _), column in after.items() if table in tables and (table, column["name"]) not in before
        ]
        assert [column for column in added if not column["nullable"] and column["default"] is None] == [], revision


def test_acts_of_before_are_found_by_their_callers(database: Connections) -> None:
    config = Config()
    config.set_main_option("script_location", "vmkiln.store:migrations")
    columns = {"event_id": "e", "moment": "2026-01-01 00:00:00", "caller_id": "i", "caller_kind": "user",
               "operation": "o", "resource_id": "/r", "key": "/r", "subscription_id": "s", "resource_group": "",
               "provider": "p", "status": "Succeeded", "code": 200, "error_code": "", "method": "PUT",
               "correlation_id": "c", "request_id": "q", "source": "", "is_refused": False, "detail": "{}"}  # fmt: skip
    with database.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0008")
        for caller in ("Jörgen", "anna"):
            names = ", ".join(["caller", *columns])
            values = ", ".join(f":{name}" for name in ["caller", *columns])
            insert = sa.text(f"INSERT INTO vmkiln_audit ({names}) VALUES ({values})")  # noqa: S608
            connection.execute(insert, {"caller": caller, **columns})
    prepare(database, "the database")
    now = utc_now()
    query = AuditQuery("s", now.replace(year=2025), now, caller="JÖRGEN")
    assert [row.caller for row in AuditTable(database).find(query, limit=9)] == ["Jörgen"]


def test_a_new_database_has_the_tables_of_today_at_once(database: Connections) -> None:
    for _ in range(2):
        prepare(database, "the database")
    with database.reading() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE, "compare_type": True})
        assert context.get_current_revision() == HEAD
        assert compare_metadata(context, metadata) == []
