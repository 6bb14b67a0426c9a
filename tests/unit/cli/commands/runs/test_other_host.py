"""Whoever asks for what lies on another host of the fleet is told its name."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from vmkiln.azure_names import VIRTUAL_MACHINE
from vmkiln.cli.main import app
from vmkiln.errors import InputError
from vmkiln.run_state import RunState
from vmkiln.settings import Settings
from vmkiln.staging.staging_resource_group import HELD
from vmkiln.store.database import Store, opened, utc_now
from vmkiln.store.rows import RunRow

RUN, GROUP = "0123abcd-0000-0000-0000-000000000000", "IT_images_web"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A database in which another host had a run that failed, and has its VM."""
    monkeypatch.setenv("VMKILN_HOME", str(tmp_path))
    monkeypatch.delenv("VMKILN_OBJECT_STORE", raising=False)
    with opened(Settings(tmp_path).database) as found:
        facts: Any = {"host_id": "host-7"}
        found.runs.add(RunRow(RUN, "web", "rg", {}, RunState.FAILED, "", "", GROUP, "", facts, utc_now(), utc_now()))
        found.staging.add_group(GROUP, run_id=RUN, storage_account="x", tags={})
        yield found


def told(*words: str) -> InputError:
    error = CliRunner().invoke(app, list(words)).exception
    assert isinstance(error, InputError)
    return error


@pytest.mark.parametrize("is_held", [True, False])
def test_the_kept_vm_of_another_host_is_booted_there(store: Store, is_held: bool) -> None:
    detail = {"state": HELD} if is_held else {}
    store.staging.add_resources(GROUP, run_id=RUN, entries=[(VIRTUAL_MACHINE, "build-vm", detail)], exist=True)
    if is_held:
        fact: Any = {"until": "2099-01-01T00:00:00+00:00", "size_mib": 1, "host_id": "host-7"}
        store.runs.add_facts(RUN, lease=fact)
    error = told("staging", "boot", GROUP)
    assert "lies on another host, host-7" in error.message
    assert error.hint == "run the same command on host-7"


def test_the_console_of_another_host_is_read_there(store: Store) -> None:
    assert store.runs.find(RUN).facts["host_id"] == "host-7"
    error = told("run", "screenshot", RUN)
    assert error.message == "what is kept of the console of run 0123abcd lies on another host, host-7"


@pytest.mark.parametrize("command", ["shell", "release"])
def test_a_vm_that_another_host_holds_running_is_told_of(store: Store, command: str) -> None:
    run = RunRow("7" * 36, "web", "rg", {}, RunState.RUNNING, "", "", "", "", {}, utc_now(), None)
    store.runs.add(run)
    store.runs.add_facts(run.run_id, host_id="host-7", held_until="2099-01-01T00:00:00+00:00")
    error = told("run", command, run.run_id)
    assert error.message == "the failed VM of run 77777777 lies on another host, host-7"
    assert error.hint == "run the same command on host-7"
    store.runs.add_facts(run.run_id, held_until="")
    assert "is not held" in told("run", command, run.run_id).message
