"""The database of an older vmkiln is brought up to date."""

import sqlite3
from pathlib import Path

import pytest

from vmkiln.errors import VmkilnError
from vmkiln.store.database import opened

RUN = "CREATE TABLE vmkiln_run (run_id VARCHAR(36) PRIMARY KEY, template_name VARCHAR(64) NOT NULL, resource_group VARCHAR(90) NOT NULL, template JSON NOT NULL, state VARCHAR(20) NOT NULL, sub_state VARCHAR(20) NOT NULL, message TEXT NOT NULL, error_code VARCHAR(64) NOT NULL, staging_group VARCHAR(120) NOT NULL, facts JSON NOT NULL, started DATETIME NOT NULL, ended DATETIME)"  # noqa: E501


def old_database(path: Path, version: int) -> Path:
    connection = sqlite3.connect(path)
    connection.execute(RUN)
    connection.execute(
        "INSERT INTO vmkiln_run VALUES ('r1','web','rg','{}','Succeeded','','','','','{}','2026-01-01 00:00:00',NULL)"
    )
    connection.execute("CREATE TABLE vmkiln_schema_version (version INTEGER PRIMARY KEY)")
    connection.execute("INSERT INTO vmkiln_schema_version VALUES (?)", (version,))
    connection.commit()
    connection.close()
    return path


def test_runs_of_the_first_schema_are_kept(tmp_path: Path) -> None:
    path = old_database(tmp_path / "vmkiln.sqlite", 1)
    for _ in range(2):
        with opened(path) as store:
            assert store.run("r1").template_id == ""
            assert store.runs_of_template("/x") == []


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VmkilnError, match="newer"), opened(old_database(tmp_path / "vmkiln.sqlite", 99)):
        pass
