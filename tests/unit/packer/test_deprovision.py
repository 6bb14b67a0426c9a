"""The deprovisioning, as far as it can be tried without a VM: what it waits for before it takes anything away."""

import os
import subprocess
from importlib import resources
from pathlib import Path

import pytest

SCRIPT = (resources.files("vmkiln.packer") / "deprovision_linux.sh").read_text()
WAIT = SCRIPT[SCRIPT.index("cloud_init_works()") : SCRIPT.index('\nif [ ! -f "$own_script" ]')]
JOBS = " 61 cloud-final.service start running\n 2 multi-user.target start waiting\n"


def waited(folder: Path, jobs: int | None) -> tuple[list[str], list[str]]:
    """What the wait says, and what it asks of systemd, when cloud-init works for so many looks, or without an end."""
    most = 10**6 if jobs is None else jobs
    systemctl = f"""echo "$*" >> {folder}/asked
        [ "$1" != list-jobs ] || [ "$(grep -c list-jobs {folder}/asked)" -gt {most} ] || printf '{JOBS}'"""
    for name, text in {"systemctl": systemctl, "sleep": ":"}.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    script = f'set -u\nsay() {{ echo "$*"; }}\n{WAIT}'
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
    said = subprocess.run(["sh", "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert said.stderr == ""
    return said.stdout.splitlines(), (folder / "asked").read_text().splitlines()


@pytest.mark.parametrize("jobs", [0, 1, 7])
def test_cloud_init_ends_its_work_before_anything_is_taken_away(tmp_path: Path, jobs: int) -> None:
    said, asked = waited(tmp_path, jobs)
    assert said == ["waiting for cloud-init, which still works on this boot"][:jobs]
    assert not any(line.startswith("stop") for line in asked)


def test_a_cloud_init_without_an_end_is_stopped(tmp_path: Path) -> None:
    said, asked = waited(tmp_path, None)
    assert said[-1] == "cloud-init has not ended after 5 minutes; it is stopped"
    assert asked[-1] == "stop cloud-*"
    assert len(asked) < 310


def test_what_networkmanager_makes_its_ids_of_goes_whoever_deprovisions(tmp_path: Path) -> None:
    always = SCRIPT[SCRIPT.index("# what this build brought in") :]
    (line,) = [line for line in always.splitlines() if "NetworkManager/secret_key" in line]
    state = tmp_path / "var/lib/NetworkManager"
    state.mkdir(parents=True)
    for name in ("secret_key", "NetworkManager.state"):
        (state / name).write_text("x")
    subprocess.run(["sh", "-c", line.replace("/var/lib/", f"{tmp_path}/var/lib/")], check=True)
    assert [file.name for file in state.iterdir()] == ["NetworkManager.state"]
