"""A build that failed tells its run, for its log and what it published stay; so does the summary of a CI."""

import re
from pathlib import Path
from typing import Any

import pytest
from test_retry import template
from typer.testing import CliRunner

from vmkiln.cli.commands.build import next_commands
from vmkiln.cli.main import app
from vmkiln.run_failures import CustomizationFailed

__all__ = ["template"]


def test_a_build_that_failed_tells_its_run_and_writes_its_summary(template: Path, tmp_path: Path) -> None:
    file = tmp_path / "summary.md"
    ended = CliRunner().invoke(app, ["build", str(template), "--summary-file", str(file)])
    assert isinstance(ended.exception, CustomizationFailed)
    told = re.search(r"^run (([0-9a-f]{8})\S*): Failed$", ended.stdout, re.MULTILINE)
    assert told, ended.stdout
    assert f"vmkiln run failure {told[2]}" in ended.stdout
    assert "customizing failed" not in ended.stdout.partition(told[0])[2], "the error tells that, on standard error"
    assert f"Run `{told[1]}`." in file.read_text()
    assert "customizing failed" in file.read_text()


def test_a_summary_that_cannot_be_written_hides_no_failure(template: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vmkiln.cli.written import target_file

    monkeypatch.setattr(target_file, "check_target", lambda _file: None)
    ended = CliRunner().invoke(app, ["build", str(template), "--summary-file", "/nowhere/summary.md"])
    assert isinstance(ended.exception, CustomizationFailed)
    assert "warning: writing /nowhere/summary.md failed" in ended.stderr


IMAGES = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Compute"
VERSION = f"{IMAGES}/galleries/g/images/web/versions/1.0.0"


@pytest.mark.parametrize(
    ("artifact_id", "facts", "words"),
    [
        (f"{IMAGES}/images/web", {}, ["vmkiln image boot web --ssh", "vmkiln image export web web.qcow2"]),
        (VERSION, {"os_type": "Windows"}, [f"vmkiln image boot {VERSION}", f"vmkiln image export {VERSION} web.qcow2"]),
        (None, {}, []),
    ],
)
def test_a_build_says_what_is_done_with_its_image(artifact_id: str | None, facts: Any, words: list[str]) -> None:
    vhd = {"artifact_id": None, "state": "Succeeded"}
    failed = {"artifact_id": f"{IMAGES}/images/not-there", "state": "Failed"}
    outputs = [vhd, failed, {"artifact_id": artifact_id, "state": "Succeeded"}]
    assert next_commands({"outputs": outputs, "facts": facts}) == words
