"""A service tells its webhook what ended, also what ended while it was dead; its secrets are in no word of it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from in_process import wait_for
from notice_receivers import Hook, hooked
from typer.testing import CliRunner

from vmkiln.cli.main import app
from vmkiln.run_state import RunState
from vmkiln.settings import Settings
from vmkiln.store.database import opened
from vmkiln.store.rows import RunRow

TESTS = Path(__file__).parents[1]
SECRET = "a secret of at least twenty-four bytes"


@pytest.fixture
def hook() -> Iterator[Hook]:
    with hooked() as found:
        yield found


@pytest.fixture
def environment(tmp_path: Path, hook: Hook) -> dict[str, str]:
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    return {
        "VMKILN_HOME": str(tmp_path / "home"),
        "VMKILN_NOTICE_WEBHOOK": hook.url,
        "VMKILN_NOTICE_WEBHOOK_SECRET_FILE": str(secret),
    }


@contextmanager
def a_service(home: Path, environment: dict[str, str], log: Path) -> Iterator[None]:
    """A service of its own, until it is killed at the end of the block."""
    values = {**os.environ, **environment, "PYTHONPATH": f"{TESTS}:{TESTS.parent}"}
    command = [sys.executable, "-m", "stub_service", str(home)]
    with (
        log.open("a") as written,
        subprocess.Popen(command, env=values, stdout=subprocess.PIPE, stderr=written, text=True) as process,
    ):
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("https://")
            yield
        finally:
            process.kill()


def test_a_service_that_was_killed_tells_what_ended_meanwhile(
    tmp_path: Path, environment: dict[str, str], hook: Hook
) -> None:
    home, log = tmp_path / "home", tmp_path / "log"
    with a_service(home, environment, log), opened(Settings(home).database) as store:
        store.outbox.mark()
    with opened(Settings(home).database) as store:
        store.runs.add(RunRow("r1", "web", "rg", {}, RunState.RUNNING, "", "", "", "", {}, store.now(), None))
        store.runs.move("r1", expected=[RunState.RUNNING], state=RunState.FAILED)
        with a_service(home, environment, log):
            wait_for(lambda: hook.came, seconds=120)
    ((_, body),) = hook.came
    told = json.loads(body)
    assert (told["type"], told["data"]["runId"]) == ("vmkiln.run.ended", "r1")
    assert SECRET not in log.read_text()
    assert "in-the-address" not in log.read_text()


def test_the_test_of_notice_says_who_took_it_and_settings_hide_the_address(
    environment: dict[str, str], hook: Hook
) -> None:
    runner = CliRunner(env=environment)
    well = runner.invoke(app, ["notice", "test", "--json"])
    assert well.exit_code == 0, well.output
    ((_, body),) = hook.came
    assert json.loads(well.stdout) == [
        {"receiver": "webhook", "id": json.loads(body)["id"], "isSent": True, "problem": ""}
    ]
    hook.statuses = [403]
    refused = runner.invoke(app, ["notice", "test"])
    assert (refused.exit_code, refused.stdout) == (1, "webhook: the webhook answered 403\n")
    shown = runner.invoke(app, ["settings"])
    assert shown.exit_code == 0
    assert "in-the-address" not in f"{shown.output}{refused.output}"
