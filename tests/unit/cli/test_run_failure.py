"""`vmkiln run failure`: where a run failed, why as far as is known, and what helps."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from json_contract import check_answer
from typer.testing import CliRunner

from vmkiln.azure_names import LOG_FILES
from vmkiln.cli.commands.runs.failure import failure_lines
from vmkiln.cli.main import app
from vmkiln.errors import InputError
from vmkiln.run.failure.failure_report import FailureReport, LogEnd
from vmkiln.run.failure.first_difference import Difference
from vmkiln.run.failure.known_failures import Cause
from vmkiln.run_state import Phase, RunState
from vmkiln.settings import Settings
from vmkiln.staging import staging_resource_group
from vmkiln.staging.storage_account import LOGS
from vmkiln.store.database import Store, opened
from vmkiln.store.rows import RunRow

GUID = "0a1b2c3d-0000-4000-8000-000000000001"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VMKILN_HOME", str(tmp_path))
    return tmp_path


def record(store: Store, settings: Settings, run_id: str, state: RunState, message: str = "it ended") -> None:
    """A run that ended so, with a log of its customizing."""
    group = staging_resource_group.create(settings.staging, store, name=f"IT_{run_id}", run_id=run_id, tags={})
    store.runs.add(RunRow(run_id, "web", "rg", {}, state, "", message, "", group.name, {}, NOW, NOW))
    store.runs.begin_phase(run_id, Phase.CUSTOMIZING)
    log = group.storage_account.directory / LOGS / run_id / LOG_FILES["customization"]
    log.parent.mkdir(parents=True)
    log.write_text(
        f"[{GUID}] PACKER OUT Reading package lists...\n[{GUID}] PACKER ERR E: Unable to locate package ngnix\n"
    )


def test_why_a_run_failed_is_told_with_what_helps(home: Path) -> None:
    settings = Settings(home)
    with opened(settings.database) as store:
        record(store, settings, "aaaa", RunState.FAILED)
    told = CliRunner().invoke(app, ["run", "failure", "aaaa"])
    assert told.exit_code == 0, told.output
    assert "in Customizing" in told.output
    assert "likely: There is no package `ngnix`" in told.output
    assert ">      2  E: Unable to locate package ngnix" in told.output
    found = json.loads(CliRunner().invoke(app, ["run", "failure", "aaaa", "--json"]).output)
    check_answer("run failure", found)
    assert (found["error_line"], found["phase"]) == (2, "Customizing")


def test_what_a_guest_printed_is_no_mark_of_a_ci(home: Path) -> None:
    settings = Settings(home)
    with opened(settings.database) as store:
        record(store, settings, "cccc", RunState.FAILED, "it failed:\n::error::forged ##[error]forged")
    told = CliRunner().invoke(app, ["run", "failure", "cccc"]).output.splitlines()
    assert [line for line in told if "forged" in line] == ["  \\x3a:error::forged #\\x23[error]forged"]


def test_a_run_that_has_not_failed_has_no_reason(home: Path) -> None:
    settings = Settings(home)
    with opened(settings.database) as store:
        record(store, settings, "bbbb", RunState.SUCCEEDED)
    refused = CliRunner().invoke(app, ["run", "failure", "bbbb"])
    assert isinstance(refused.exception, InputError)
    assert "has not failed: it is Succeeded" in refused.exception.message


def test_what_a_guest_printed_cannot_move_the_cursor() -> None:
    end = LogEnd("customization", "a\x1b[2J", 7, ("b\x1b[1A", "c"), (False, True))
    found = FailureReport("Customizing", end.step, 1, "m", Cause("w", "r."), end, 8, "before", ("x\x1b[2K",))
    found = replace(found, differing=Difference(8, "now\x1b[2J", "then\x1b[1A"))
    lines = list(failure_lines(found))
    assert not any("\x1b" in line for line in lines)
    assert [line.strip()[:10] for line in lines if line.startswith("  >")] == [">      8  "]
