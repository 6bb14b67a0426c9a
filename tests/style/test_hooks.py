"""The hooks of pre-commit run what script/test runs, and fetch nothing."""

import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CONFIGURATION = ROOT / ".pre-commit-config.yaml"
READ: dict[str, Any] = yaml.safe_load(CONFIGURATION.read_text())
HOOKS: list[dict[str, Any]] = [hook for repository in READ["repos"] for hook in repository["hooks"]]


def test_pre_commit_takes_the_configuration() -> None:
    command = [sys.executable, "-m", "pre_commit", "validate-config", CONFIGURATION]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr + checked.stdout


def test_no_hook_is_fetched() -> None:
    assert [repository["repo"] for repository in READ["repos"]] == ["local"]
    assert {hook["language"] for hook in HOOKS} == {"system"}


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook["id"])
def test_a_hooks_program_is_locked_or_of_the_system(hook: dict[str, Any]) -> None:
    program = shlex.split(hook["entry"])[0]
    assert program.startswith(".venv/bin/") or program == "shellcheck"
    if Path(sys.prefix) == ROOT / ".venv" and program != "shellcheck":
        assert (ROOT / program).exists()


def test_every_check_of_the_test_script_is_a_hook() -> None:
    script = (ROOT / "script/test").read_text()
    for name in ("ruff check", "ruff format", "mypy", "shellcheck"):
        assert name in script
        assert any(name in hook["entry"] for hook in HOOKS), name
