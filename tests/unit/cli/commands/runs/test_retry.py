"""A run of `vmkiln build` is built again, of its file as it is now, and names the run that it repeats."""

import contextlib
import json
import os
import pwd
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import stub_build
from click.testing import Result
from typer.testing import CliRunner

from vmkiln import preparation
from vmkiln.cli.main import app
from vmkiln.errors import InputError
from vmkiln.run import workflow
from vmkiln.run.run_context import BuildHost, RunRequest
from vmkiln.run_failures import CustomizationFailed
from vmkiln.run_state import RunState
from vmkiln.settings import Settings
from vmkiln.staging import run_directory
from vmkiln.store.database import Store, opened
from vmkiln.store.host_table import RUN_LOST
from vmkiln.store.rows import RunRow


@pytest.fixture
def template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A template file, for builds without virtual machines."""
    monkeypatch.setenv("VMKILN_HOME", str(tmp_path / "home"))

    @contextlib.asynccontextmanager
    async def prepared(settings: Settings, store: Store, _told: object) -> AsyncIterator[BuildHost]:
        yield stub_build.stub_host(settings, store)

    monkeypatch.setattr(preparation, "prepared_host", prepared)

    async def phases(_host: object, request: RunRequest, _tell: object) -> str:
        if "fail" in str(request.resolved):
            raise CustomizationFailed("customizing failed")
        return ""

    monkeypatch.setattr(workflow, "_phases", phases)
    path = tmp_path / "t.json"
    path.write_text(json.dumps(body("fail")))
    return path


def body(command: str) -> dict[str, Any]:
    source = {"type": "PlatformImage", "publisher": "Debian", "offer": "debian-12", "sku": "12", "version": "latest"}
    target = {"type": "ManagedImage", "imageId": "", "location": "local", "runOutputName": "image"}
    target["imageId"] = (
        "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/vmkiln/providers/Microsoft.Compute/images/i"
    )
    step = {"type": "Shell", "name": "one", "inline": [command]}
    properties = {"source": source, "customize": [step], "distribute": [target]}
    return {
        "type": "Microsoft.VirtualMachineImages/imageTemplates",
        "apiVersion": "2025-10-01",
        "identity": {"type": "None"},
        "location": "local",
        "properties": properties,
    }


def vmkiln(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def runs(home: Path) -> list[RunRow]:
    with opened(Settings(home=home).database) as store:
        return store.runs.list(limit=None)


def test_an_edited_template_file_is_built_again_as_before(tmp_path: Path, template: Path) -> None:
    failed = vmkiln("build", str(template), "--on-error", "hold", "--hold-for", "7", "--max-age", "2")
    assert isinstance(failed.exception, CustomizationFailed), repr(failed.exception)
    [first] = runs(tmp_path / "home")
    template.write_text(json.dumps(body("true")))
    again = vmkiln("run", "retry", first.run_id[:8], "--json")
    assert again.exit_code == 0, repr(again.exception)
    second, _ = runs(tmp_path / "home")
    assert (second.state, second.template_name, second.facts["retry_of"]) == ("Succeeded", "t", first.run_id)
    assert second.facts["built_of"] == first.facts["built_of"]
    assert second.facts["begun_by"] == first.facts["begun_by"] == pwd.getpwuid(os.getuid()).pw_name
    assert second.facts["built_of"]["held_minutes"] == 7


@pytest.mark.parametrize("lives", [True, False])
def test_a_killed_build_is_built_again_and_one_that_goes_on_is_not(lives: bool, tmp_path: Path, template: Path) -> None:
    template.write_text(json.dumps(body("true")))
    assert vmkiln("build", str(template)).exit_code == 0
    [ended] = runs(tmp_path / "home")
    settings, run_id = Settings(home=tmp_path / "home"), "99999999-0000-0000-0000-000000000000"
    with opened(settings.database) as store:
        store.runs.add(replace(ended, run_id=run_id, state=RunState.RUNNING, ended=None))
    with run_directory.locked(settings.runs, run_id) if lives else contextlib.nullcontext():
        again = vmkiln("run", "retry", run_id)
    found = {run.run_id: run for run in runs(tmp_path / "home")}
    if lives:
        assert isinstance(again.exception, InputError)
        assert "goes on" in str(again.exception)
        assert len(found) == 2
    else:
        assert again.exit_code == 0, repr(again.exception)
        assert found[run_id].error_code == RUN_LOST
        assert [run.facts["retry_of"] for run in found.values() if run.facts.get("retry_of")] == [run_id]


def test_what_makes_no_sense_for_it_begins_nothing(tmp_path: Path, template: Path) -> None:
    assert isinstance(vmkiln("build", str(template)).exception, CustomizationFailed)
    [first] = runs(tmp_path / "home")
    for words, told in ((["--no-wait"], "`--no-wait`"), (["--template", "missing.json"], "missing.json")):
        refused = vmkiln("run", "retry", first.run_id, *words)
        assert refused.exit_code
        assert told in f"{refused.exception}"
    assert len(runs(tmp_path / "home")) == 1
