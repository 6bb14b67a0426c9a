"""What the program in the VM says of a script that failed."""

import re
import subprocess
from pathlib import Path

import pytest

from vmkiln.packer import step_runner
from vmkiln.packer.packer_template import run_command
from vmkiln.run.failure.known_failures import cause_in_line


@pytest.mark.parametrize(("status", "is_told"), [(0, False), (7, True)])
def test_a_failed_script_is_followed_by_what_was_free(
    status: int, is_told: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    said: list[tuple[bytes, bytes]] = []
    script = tmp_path / "script.sh"
    script.touch()
    monkeypatch.setattr(step_runner, "passed_on", lambda _script: (status, False))
    monkeypatch.setattr(step_runner, "wait_for_restart", lambda _patience: None)
    monkeypatch.setattr(step_runner._signal, "signal", lambda *_: None)
    monkeypatch.setattr(step_runner, "say", lambda kind, text=b"": said.append((kind, text)))
    assert step_runner.main(str(script), "") == status
    assert said[-1] == (step_runner.ENDED, b"%d" % status), "the status comes last"
    remarks = [text.decode() for kind, text in said if kind == step_runner.REMARK]
    assert len(remarks) == is_told
    for text in remarks:
        found = re.fullmatch(r"the VM has (\d+) of (\d+) MiB of memory free, and (\d+) of (\d+) MiB of its disk", text)
        assert found, text
        assert 0 < int(found[1]) <= int(found[2])
        assert int(found[3]) <= int(found[4])
        assert cause_in_line(text) is None, "it is not taken for what made the script fail"


@pytest.mark.parametrize("status", [0, 7])
def test_what_waits_at_a_checkpoint_runs_behind_a_script_that_succeeded(status: int, tmp_path: Path) -> None:
    """The whole command as the VM's shell gets it, with a checkpoint that has what a shell would take for its own."""
    script, traces = tmp_path / "script_1.sh", tmp_path / "traces"
    script.write_text(f"#!/bin/sh\necho script >> {traces}\nexit {status}\n")
    checkpoint = f"print(\"checkpoint it's $PATH\", script + ' ' + name, sep='\\n', file=open({str(traces)!r}, 'a'))\n"
    checkpoint += "said = output_of(['sh', '-c', 'echo cannot be'])[1].strip()\n"
    command = run_command("", checkpoint).replace("{{.Path}}", str(script)).replace("{{.Vars}}", "")
    ended = subprocess.run(["bash", "-c", command], check=False, capture_output=True, text=True)
    assert ended.returncode == status
    name = re.search("\x1ek([0-9a-f]{16})\n", ended.stdout)
    assert (name is not None) == (status == 0), "the name under which it waits is told before"
    waited = ["checkpoint it's $PATH", f"{script} {name[1]}"] if name else []
    assert traces.read_text().splitlines() == ["script", *waited]
    assert ("\x1ewcannot be" in ended.stdout) == (status == 0), "what it says is told"
    assert ended.stdout.endswith("\x1eg\n") == (status == 0), "and that it goes on"


def test_a_checkpoint_that_fails_is_a_remark_and_no_failed_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[tuple[bytes, bytes]] = []
    monkeypatch.setattr(step_runner, "say", lambda kind, text=b"": said.append((kind, text)))
    for text in ("import no_such_module", "said = b''"):
        step_runner.wait_at(text, "script")
    assert [kind for kind, _ in said] == [
        *(step_runner.WAITS, step_runner.REMARK, step_runner.GOES_ON),
        *(step_runner.WAITS, step_runner.GOES_ON),
    ]
    assert said[1][1] == b"the VM cannot be kept here: No module named 'no_such_module'"


class _Clock:
    """Time that goes on only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0

    def time(self) -> float:
        return self.now

    monotonic = time

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize(("comes_after", "is_waited_for"), [(0.0, True), (2.0, True), (6.0, False)])
def test_a_restart_that_comes_soon_behind_a_script_is_waited_for(
    comes_after: float, is_waited_for: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the script left running sets it going; on most days a real VM has another kind (`tests/vm`)."""
    clock, said = _Clock(), []
    begun = clock.now
    monkeypatch.setattr(step_runner, "time", clock)
    monkeypatch.setattr(step_runner, "seconds_until_scheduled", lambda: None)
    monkeypatch.setattr(step_runner, "is_going_down", lambda: clock.now >= begun + comes_after)
    monkeypatch.setattr(step_runner, "say", lambda kind, _text=b"": said.append(kind))
    step_runner.wait_for_restart(step_runner.AFTERMATH_SECONDS)
    assert (step_runner.RESTARTING in said) == is_waited_for
    assert (clock.now - begun >= step_runner.RESTART_SECONDS) == is_waited_for, "the VM takes it with it before"


def test_a_clock_that_is_set_back_makes_nobody_wait_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the time service of the VM does it when it has asked a server."""
    clock, said = _Clock(), []
    begun = clock.now
    monkeypatch.setattr(clock, "time", lambda: begun - 3600 + (clock.now - begun) / 2)
    monkeypatch.setattr(step_runner, "time", clock)
    monkeypatch.setattr(step_runner, "seconds_until_scheduled", lambda: None)
    monkeypatch.setattr(step_runner, "is_going_down", lambda: True)
    monkeypatch.setattr(step_runner, "say", lambda kind, _text=b"": said.append(kind))
    step_runner.wait_for_restart()
    assert said[-1] == step_runner.REMARK
    assert clock.now - begun < step_runner.RESTART_SECONDS + 1


@pytest.mark.parametrize(("has_left", "patience"), [(False, 0.0), (True, step_runner.AFTERMATH_SECONDS)])
def test_a_script_that_left_one_running_is_given_time_to_set_a_restart_going(
    has_left: bool, patience: float, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script, given = tmp_path / "script.sh", []
    script.touch()
    monkeypatch.setattr(step_runner, "passed_on", lambda _script: (0, has_left))
    monkeypatch.setattr(step_runner, "wait_for_restart", given.append)
    monkeypatch.setattr(step_runner._signal, "signal", lambda *_: None)
    monkeypatch.setattr(step_runner, "say", lambda _kind, _text=b"": None)
    assert step_runner.main(str(script), "") == 0
    assert given == [patience]


def test_a_script_that_the_restart_ended_has_no_status_of_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script, told = tmp_path / "script.sh", []
    script.touch()
    monkeypatch.setattr(step_runner, "passed_on", lambda _script: (143, False))
    monkeypatch.setattr(step_runner, "is_going_down", lambda: True)
    monkeypatch.setattr(step_runner, "wait_for_restart", lambda: told.append("waits"))
    monkeypatch.setattr(step_runner._signal, "signal", lambda *_: None)
    monkeypatch.setattr(step_runner, "say", lambda kind, _text=b"": told.append(kind))
    step_runner.main(str(script), "")
    assert told.index("waits") < told.index(step_runner.ENDED)
