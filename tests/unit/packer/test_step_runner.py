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
    checkpoint = f"cat >> {traces} <<'END'\ncheckpoint it's $PATH\nEND\necho \"$0 $1\" >> {traces}; echo 'cannot be'\n"
    command = run_command("", checkpoint).replace("{{.Path}}", str(script)).replace("{{.Vars}}", "")
    ended = subprocess.run(["bash", "-c", command], check=False, capture_output=True, text=True)
    assert ended.returncode == status
    name = re.search("\x1ek([0-9a-f]{16})\n", ended.stdout)
    assert (name is not None) == (status == 0), "the name under which it waits is told before"
    waited = ["checkpoint it's $PATH", f"{script} {name[1]}"] if name else []
    assert traces.read_text().splitlines() == ["script", *waited]
    assert ("\x1ewcannot be" in ended.stdout) == (status == 0), "what it says is told"
