"""Runs with stand-ins for their guests, each in a process of its own: started, held at a moment, looked at, let go."""

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from stand_ins.build_process import SOURCE_ID, WINDOWS_SOURCE_ID, settings_of

from vmkiln.azure_names import RESOURCE_GROUP, group_id
from vmkiln.images import managed_image
from vmkiln.images.image_store import ImageFacts, seal, sha256_of
from vmkiln.settings import Settings
from vmkiln.store.database import opened
from vmkiln.store.rows import ResourceRow

HERE = Path(__file__).parent
TESTS = HERE.parent
STARTED_SECONDS = 30
SOURCE_BYTES = 4 * 1024**2
PARENT = "supervisor's parent"


@dataclass(frozen=True)
class Build:
    """One run and the process that does it."""

    run_id: str
    process_id: int
    process: int  # a pidfd (pidfd_open(2)): readable when the process has ended, and never another's
    directory: Path
    gates: list[int] = field(default_factory=list)

    def has_ended(self, *, seconds: float = 0) -> bool:
        """Whether its process has ended, or does so within `seconds`."""
        has_ended = bool(select.select([self.process], [], [], seconds)[0])
        while has_ended and self.gates:
            os.close(self.gates.pop())
        return has_ended

    def is_held(self) -> bool:
        """Whether the run has come to the moment it is held at."""
        return (self.directory / "reached").exists()

    def let_go(self) -> None:
        """Go on; content when whoever waited is dead, and when it has not begun to wait."""
        (self.directory / "hold").unlink(missing_ok=True)
        with contextlib.suppress(FileNotFoundError):  # the run has ended
            gate = os.open(self.directory / "gate", os.O_RDWR)  # fifo(7): on Linux this does not wait for a reader
            self.gates.append(gate)  # what is written lasts while it is open
            os.write(gate, b"\n")


@dataclass
class Builds:
    """A state directory, and the process that starts processes for runs in it."""

    settings: Settings
    server: "subprocess.Popen[str]"
    environment: dict[str, str]
    started: list[Build] = field(default_factory=list)

    def start(
        self, run_id: str, *, runner: str, moment: str = "", is_kept: bool = False, lie: str = "", **more: str
    ) -> Build:
        """A run in a process of its own; held when it comes to `moment`. `lie` is what its container group tells.

        A command's `more` may be the `name` of its template, its `target`, and its `clock`.
        """
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        asked = {"runner": runner, "run_id": run_id, "moment": moment, "is_kept": is_kept, "lie": lie, **more}
        self.server.stdin.write(json.dumps(asked) + "\n")
        self.server.stdin.flush()
        process_id = int(self.server.stdout.readline())
        build = Build(run_id, process_id, os.pidfd_open(process_id), self.settings.runs / run_id)
        self.started.append(build)
        return build

    def close(self) -> None:
        """Nothing is left of what was started."""
        assert self.server.stdin is not None
        for build in self.started:
            with contextlib.suppress(ProcessLookupError):
                if not build.has_ended():
                    os.kill(build.process_id, 9)
            for descriptor in (build.process, *build.gates):
                os.close(descriptor)
        self.server.stdin.close()
        self.server.wait(10)

    def said(self, build: Build) -> str:
        """What the run's process printed."""
        return (self.settings.home / f"{build.run_id}.txt").read_text()


def put_programs(folder: Path) -> Path:
    """Make the stand-ins in a new folder, which is to be first on PATH."""
    folder.mkdir(parents=True)
    for name in ("qemu-img", "nft"):
        (folder / name).symlink_to(HERE / "program.sh")
    guest = folder / "qemu-system-x86_64"
    guest.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S {HERE / "guest.py"} "$@"\n')
    guest.chmod(0o755)
    return folder


@contextlib.contextmanager
def opened_builds(folder: Path) -> Iterator[Builds]:
    """A state directory with a source image in it, and stand-ins first on PATH."""
    programs = put_programs(folder / "programs")
    settings = settings_of(folder / "home")
    settings.home.mkdir()
    _publish_sources(settings)
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": f"{TESTS}:{TESTS.parent}"}
    server = subprocess.Popen(
        [sys.executable, "-m", "stand_ins.build_process", str(settings.home)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    assert server.stdout.readline() == "ready\n"
    builds = Builds(settings, server, environment)
    try:
        yield builds
    finally:
        builds.close()
        server.stdout.close()


def _publish_sources(settings: Settings) -> None:
    folder = settings.home / "making-source"
    folder.mkdir()
    raw, flat = folder / "disk.raw", folder / "flat.qcow2"
    raw.write_bytes(os.urandom(65536).ljust(SOURCE_BYTES, b"\0"))
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, flat], check=True)
    seal(flat)
    with opened(settings.database_address) as store:
        store.resources.put(
            ResourceRow(group_id("s", "rg"), RESOURCE_GROUP, "rg", "s", "rg", "local")
        )  # of all the targets
        for image_id, system in ((SOURCE_ID, "Linux"), (WINDOWS_SOURCE_ID, "Windows")):
            facts = ImageFacts(flat, sha256_of(flat), SOURCE_BYTES, 1, system, "1.2.3", "source--")
            managed_image.publish(settings.image_store, store, facts, image_id=image_id, location="local", tags={})


def wait_until(is_so: Callable[[], bool], *, seconds: float, what: str) -> None:
    """Wait for a condition. Raises: `AssertionError` naming it."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds} s"
        time.sleep(0.02)


def role_of(command_line: list[str], name: str) -> str:
    """What a process of a run is, by how it was started and by its name, which copies of the supervisor have."""
    words = [word.rsplit("/", 1)[-1] for word in command_line]
    if name in {"resolver_progra", "flow_program"}:
        return {"resolver_progra": "resolver"}.get(name, "flow watch")
    if name == "supervisor":
        return "supervisor"
    if any("vmkiln.host.copies.launcher" in word for word in command_line):
        return "launcher"
    if words[:1] == ["ip"] and "monitor" in words:
        return "host watch"
    if "guest.py" in words:
        after = words[words.index("guest.py") + 1 :]
        if after[0] == "packer":
            return "packer"
        name = after[after.index("-name") + 1]
        return "container group" if name.startswith("container-") else "build VM"
    return next((word for word in words if word in {"pasta", "qemu-img", "nft"}), " ".join(words)[:80])


def processes_of(build: Build, *, runner: str) -> dict[str, int]:
    """The living processes of a run, by their role: the ids. Of the supervisor's two, `supervisor` is the inner one."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
                if state != "Z":
                    children.setdefault(int(parent), []).append(int(entry.name))
    found = {runner: build.process_id}
    pending = list(children.get(build.process_id, ()))
    while pending:
        process_id = pending.pop(0)
        pending += children.get(process_id, ())
        with contextlib.suppress(OSError):
            folder = Path("/proc") / str(process_id)
            name = (folder / "comm").read_text().strip()
            role = role_of((folder / "cmdline").read_bytes().decode().split("\0"), name)
            is_outer = role == "supervisor" and PARENT not in found
            found[PARENT if is_outer else role] = process_id
    return found
