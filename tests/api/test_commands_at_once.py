"""Commands that answer in their own process: many at once, beside one that builds, beside a service and a worker."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from at_once import at_once
from in_process import SUBSCRIPTION, a_template
from stub_build import stub_build
from typer.testing import CliRunner, Result

from vmkiln import service as vmkiln_service
from vmkiln.api.identity.first_start import ensure_owner
from vmkiln.cli import arm_client
from vmkiln.cli.main import app
from vmkiln.cli.service.answers import ServiceAway
from vmkiln.errors import InputError
from vmkiln.service import Occupant, Occupied, beside_commands, only_service
from vmkiln.settings import Settings
from vmkiln.store.database import opened

MANY = 8
QUICK_SECONDS = 15.0  # of CPU shared with others; the wait that this was used to have took 30 s
REST = ("rest", "GET", "/subscriptions", "--api-version", "2022-12-01")
LIST = ("template", "list", "--subscription", SUBSCRIPTION)
RUN = ("template", "run", "web", "-g", "rg1", "--subscription", SUBSCRIPTION)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A user's folders; gives the settings of a state directory, in which a stand-in builds."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("VMKILN_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(arm_client, "real_build", stub_build)
    return Settings(tmp_path / "state")


def vmkiln(*arguments: str) -> tuple[Result, float]:
    began = time.monotonic()
    done = CliRunner().invoke(app, list(arguments))
    return done, time.monotonic() - began


def a_command() -> str:
    """What one of many processes does; its exit code, and what went wrong."""
    done, _ = vmkiln(*(REST if os.getpid() % 2 else LIST))
    return f"{done.exit_code}" if done.exit_code == 0 else f"{done.exit_code} {done.exception!r}"


def refusal(done: Result) -> InputError:
    assert isinstance(done.exception, InputError), done.exception
    assert done.exception.hint
    return done.exception


def test_commands_at_once_in_a_new_state_directory_all_end_well(settings: Settings) -> None:
    assert at_once(a_command, [()], processes=MANY) == [["0"] * MANY]
    assert settings.database.exists()


def test_a_command_that_only_looks_does_not_wait_for_one_that_builds(settings: Settings) -> None:
    with beside_commands(settings, builds=True):
        for words in (REST, LIST):
            done, seconds = vmkiln(*words)
            assert done.exit_code == 0, done.exception
            assert seconds < QUICK_SECONDS


def test_a_second_command_that_would_build_says_at_once_what_to_do(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "web.json"
    file.write_text(json.dumps(a_template("true")))
    where = ("-g", "rg1", "--subscription", SUBSCRIPTION)
    assert vmkiln("template", "create", "web", str(file), *where)[0].exit_code == 0
    with beside_commands(settings, builds=True):
        done, seconds = vmkiln(*RUN)
    assert "a `vmkiln template run` builds" in refusal(done).message
    assert seconds < QUICK_SECONDS
    with beside_commands(settings):  # one that only looks is no hindrance
        assert vmkiln(*RUN)[0].exit_code == 0


def test_a_service_does_not_wait_for_a_command_that_builds(settings: Settings) -> None:
    began = time.monotonic()
    with beside_commands(settings, builds=True), pytest.raises(Occupied) as refused, only_service(settings):
        pass
    assert refused.value.by is Occupant.COMMAND
    assert time.monotonic() - began < QUICK_SECONDS


def test_a_command_beside_a_worker_is_told_whom_to_ask(settings: Settings) -> None:
    with only_service(settings, Occupant.WORKER):
        done, seconds = vmkiln(*REST)
    assert "a worker works" in refusal(done).message
    assert "vmkiln login" in str(refusal(done).hint)
    assert seconds < QUICK_SECONDS


@pytest.mark.parametrize("is_first_start", [True, False])
def test_a_command_waits_for_a_service_that_starts(settings: Settings, *, is_first_start: bool) -> None:
    if not is_first_start:  # there is an owner, and it is not known yet where it listens
        with opened(settings.database) as store:
            ensure_owner(store, settings.home, tenant_id="t")
    begun, end = threading.Event(), threading.Event()

    def starts_and_ends() -> None:
        with only_service(settings):
            begun.set()
            end.wait(20)

    service = threading.Thread(target=starts_and_ends)
    service.start()
    assert begun.wait(20)
    threading.Timer(1.5, end.set).start()
    done, _ = vmkiln(*REST)
    service.join(20)
    assert done.exit_code == 0, done.exception


def test_a_service_that_does_not_answer_is_told(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arm_client, "START_SECONDS", 0.5)
    vmkiln_service.remember_endpoint(settings, "https://127.0.0.1:9")
    with only_service(settings):
        done, seconds = vmkiln(*REST)
    assert isinstance(done.exception, ServiceAway)
    assert "does not answer" in done.exception.message
    assert (done.exception.exit_code, bool(done.exception.hint)) == (3, True)
    assert seconds < QUICK_SECONDS


def test_beside_a_service_commands_ask_it(settings: Settings) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "VMKILN_HOME": str(settings.home)}
    words = [sys.executable, "-m", "stub_service", str(settings.home)]
    service = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE)
    try:
        commands = [
            subprocess.Popen([sys.executable, "-m", "vmkiln", *REST], env=environment, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True)
            for _ in range(2)
        ]  # fmt: skip
        told = [command.communicate(timeout=300) for command in commands]
        assert [command.returncode for command in commands] == [0] * 2, told
        assert service.poll() is None
    finally:
        service.terminate()
        service.wait(30)
        assert service.stdout is not None
        service.stdout.close()
