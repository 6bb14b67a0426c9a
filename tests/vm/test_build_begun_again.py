"""A build that was killed, or failed and is held, is gone on with behind its last kept customizer, and not begun anew."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import VMKILN, a_template, shell

from vmkiln.run.held import lease
from vmkiln.settings import Settings
from vmkiln.warm import checkpoint

pytestmark = [pytest.mark.vm, pytest.mark.long, pytest.mark.usefixtures("world")]
LONGEST_SECONDS = 1200
ONE = shell("echo drawn $(cut -c1-8 /proc/sys/kernel/random/uuid) | sudo tee /opt/one", name="one")
TWO = shell("cat /opt/one; echo reached; sleep 900", name="two")
HALF_DONE = shell("sudo touch /opt/half-done", "exit 7", name="two")
MENDED = shell("cat /opt/one; ls /opt/half-done || echo nothing half done", "exit 8", name="two")


@pytest.fixture
def template(prepared: Settings, tmp_path: Path) -> Iterator[Path]:
    """A template file that nothing is kept of, before and afterwards."""
    scope = checkpoint.scope_of(template_id="", resource_group="vmkiln", name="again")
    checkpoint.forget(prepared.saved_vms, scope)
    yield tmp_path / "again.json"
    subprocess.run([*VMKILN, "run", "show"], capture_output=True, timeout=LONGEST_SECONDS, check=True)  # cleans up
    checkpoint.forget(prepared.saved_vms, scope)


def begun(*words: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "VMKILN_CHECKPOINTS": "commands"}
    return subprocess.Popen(
        [*VMKILN, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )


def killed_when_it_says(template: Path, text: str) -> str:
    """All that a build said until it was killed, with no moment for a last word, when it had said this."""
    told = ""
    with begun("build", str(template), "--progress", "plain") as build:
        assert build.stdout is not None
        for line in build.stdout:
            told += line
            if text in line:
                build.kill()
    assert text in told, told
    return told


def told_by(*words: str) -> str:
    """All that a command said, which fails."""
    with begun(*words) as command:
        told, _ = command.communicate(timeout=LONGEST_SECONDS)
    assert command.returncode == 1, told
    return told


def drawn_in(told: str) -> str:
    """What the first customizer drew, which is the same wherever it is told."""
    (found,) = set(re.findall(r"drawn [0-9a-f]{8}", told))
    return found


def test_a_killed_build_goes_on_behind_its_last_customizer(template: Path) -> None:
    template.write_text(json.dumps(a_template(ONE, TWO, name="again")))
    first = killed_when_it_says(template, "[2/2 two] reached")
    second = killed_when_it_says(template, "[2/2 two] reached")
    assert "goes on behind customizer 1 of 2 (`one`)" in second, second
    assert "[1/2 one]" not in second, "it did not run again"
    assert drawn_in(first) == drawn_in(second), "and what it had come to is there"


def test_a_retry_of_a_held_run_begins_at_the_customizer_that_failed(prepared: Settings, template: Path) -> None:
    template.write_text(json.dumps(a_template(ONE, HALF_DONE, name="again")))
    failed = told_by("build", str(template), "--progress", "plain", "--on-error", "hold", "--hold-for", "30")
    held = re.search(r"`vmkiln run shell ([0-9a-f]+)` enters it", failed)
    assert held, failed
    (before,) = lease.all_of(prepared)
    template.write_text(json.dumps(a_template(ONE, MENDED, name="again")))
    again = told_by("run", "retry", held[1])
    assert f"this run repeats run {held[1]}, and begins at customizer 2 of 2, behind what is kept" in again, again
    assert "the failed VM of that run stays as it is, held until" in again
    assert "[1/2 one]" not in again, "it did not run again"
    assert drawn_in(failed) == drawn_in(again), "and what it had come to is there"
    assert "nothing half done" in again, "and nothing of the customizer that failed"
    leases = {one.run_id: one for one in lease.all_of(prepared)}
    assert leases.pop(before.run_id) == before, "neither woken nor deleted"
    (second,) = leases  # held for as long as the first
    for run_id in (before.run_id, second):
        with begun("run", "release", run_id) as release:
            release.communicate(timeout=LONGEST_SECONDS)
        assert release.returncode == 0
    assert list(prepared.leases.iterdir()) == []
