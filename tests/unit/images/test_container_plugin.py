"""What stands in Packer's place where it starts its plugins, with a stand-in for Packer."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from vmkiln.images import container_image

PROGRAM = Path(container_image.__file__).with_name("container_plugin.pl")
SHELL = ("plugin", "packer-provisioner-shell")
# says where it listens, logs a line, and stays: each with a number of its own
STAND_IN = """#!/bin/sh
echo $$ >> "$STARTED"
echo "5|unix|/tmp/of-$$"
echo "logged by $$" >&2
exec sleep 60
"""


@dataclass(frozen=True)
class Place:
    """A folder as the container group's root is, once Packer has been covered."""

    folder: Path

    @property
    def started(self) -> list[int]:
        """The processes of the stand-ins, in the order in which they began."""
        file = self.folder / "started"
        return [int(line) for line in file.read_text().splitlines()] if file.exists() else []

    def asks(self, *words: str, **more: str) -> "subprocess.Popen[str]":
        environment = {"PATH": os.defpath, "STARTED": str(self.folder / "started"), "PACKER_RUN_UUID": "1", **more}
        return subprocess.Popen(
            ["perl", str(self.folder / "packer"), *words],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def rehearsed(self, *words: str) -> int:
        """Ask for a plugin before the group is saved, and end it; the process of the spare one."""
        before = len(self.started)
        with self.asks(*words) as asked:
            assert said_by(asked) == f"5|unix|/tmp/of-{asked.pid}"
            asked.kill()
        (spare,) = set(self.started[before:]) - {asked.pid}
        return spare


def said_by(asked: "subprocess.Popen[str]") -> str:
    assert asked.stdout is not None
    return asked.stdout.readline().strip()


@pytest.fixture(name="place")
def place_(tmp_path: Path) -> Iterator[Place]:
    (tmp_path / "tmp/spares").mkdir(parents=True)
    (tmp_path / "packer").write_bytes(PROGRAM.read_bytes())
    (tmp_path / "tmp/packer").write_text(STAND_IN)
    (tmp_path / "tmp/packer").chmod(0o755)
    place = Place(tmp_path)
    yield place
    for process in place.started:
        if f"STARTED={tmp_path}".encode() in environment_of(process):
            os.kill(process, signal.SIGKILL)


def environment_of(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/environ").read_bytes()
    except OSError:
        return b""


def ready(place: Place) -> None:
    """What the init does when the rehearsal is over."""
    (place.folder / "tmp/spares/all").touch()


def test_a_plugin_asked_for_in_the_same_way_is_the_one_that_waits(place: Place) -> None:
    spares = [place.rehearsed(*SHELL), place.rehearsed(*SHELL)]
    ready(place)
    begun = place.started
    with place.asks(*SHELL, PACKER_RUN_UUID="2") as first, place.asks(*SHELL) as second:
        assert {said_by(first), said_by(second)} == {f"5|unix|/tmp/of-{spare}" for spare in spares}
        assert place.started == begun
        with place.asks(*SHELL) as third:
            assert said_by(third) == f"5|unix|/tmp/of-{third.pid}"
            third.kill()
        first.kill()
        second.kill()


@pytest.mark.parametrize(
    ("words", "more"),
    [(("plugin", "packer-provisioner-file"), {}), (SHELL, {"PACKER_LOG": "1"}), ((*SHELL, "more"), {})],
)
def test_one_asked_for_in_another_way_is_started(place: Place, words: tuple[str, ...], more: dict[str, str]) -> None:
    place.rehearsed(*SHELL)
    ready(place)
    with place.asks(*words, **more) as asked:
        assert said_by(asked) == f"5|unix|/tmp/of-{asked.pid}"
        asked.kill()


def test_what_a_waiting_plugin_logs_is_passed_on_until_it_ends(place: Place) -> None:
    spare = place.rehearsed(*SHELL)
    ready(place)
    with place.asks(*SHELL) as asked:
        assert said_by(asked) == f"5|unix|/tmp/of-{spare}"
        assert asked.stderr is not None
        assert asked.stderr.readline() == f"logged by {spare}\n"
        os.kill(spare, signal.SIGKILL)
        assert asked.wait(timeout=30) == 1


def test_a_waiting_plugin_that_has_ended_is_not_taken(place: Place) -> None:
    spare = place.rehearsed(*SHELL)
    ready(place)
    os.kill(spare, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while Path(f"/proc/{spare}/exe").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    with place.asks(*SHELL) as asked:
        assert said_by(asked) == f"5|unix|/tmp/of-{asked.pid}"
        asked.kill()
