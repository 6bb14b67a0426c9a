"""The disk is full: runs that go on are put back, others wait and say why, and all goes on when there is room again."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SERVICE = Path(__file__).with_name("full_disk_service.py")


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What a service said on a file system of 80 MiB of its own, which was filled while it worked."""
    folder = tmp_path_factory.mktemp("full")
    home = folder / "home"
    home.mkdir()
    shell = f"mount -t tmpfs -o size=80m tmpfs {home} && exec {sys.executable} {SERVICE} {home}"
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", shell]
    environment = {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "PATH": os.environ["PATH"]}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_run_that_meets_a_full_disk_waits_again_and_succeeds(told: list[str]) -> None:
    assert "the run that goes on: Succeeded in attempt 2, faults dict_values([1])" in told


def test_a_run_that_would_start_waits_and_says_why(told: list[str]) -> None:
    assert "the run that waits: Queued, waits for 10 MiB of disk (0 free)" in told


def test_a_request_is_taken_or_refused_with_the_reason(told: list[str]) -> None:
    assert "a commit without the reserve file: StorageFull" in told
    assert "a commit after it was thrown off: done" in told


def test_all_goes_on_without_a_restart(told: list[str]) -> None:
    assert "with room again: Succeeded" in told
    assert "nothing left in runs" in told
