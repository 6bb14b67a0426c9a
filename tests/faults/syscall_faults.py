"""A process that meets a fault at one chosen system call: it is killed before that call, or the call fails.

The process is a copy (fork) of one that has everything loaded, so that one takes some hundredths of a second; strace is
put on it while it waits at a gate. What it did until then is told through memory that both share, which takes no call.
"""

import ctypes
import mmap
import os
import re
import signal
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vmkiln.errors import VmkilnError
from vmkiln.store.database import Store

# every call that changes a file or a folder, or makes one
CHANGING = (
    "chmod", "copy_file_range", "fallocate", "fchmod", "fdatasync", "fsync", "ftruncate", "link", "linkat",
    "mkdir", "openat", "pwrite64", "rename", "rmdir", "symlink", "truncate", "unlink", "unlinkat", "write",
)  # fmt: skip
DONE_MARK = "getppid"  # a call that nothing else makes: where the work was done, in what strace writes down
DONE, OURS, FOREIGN = b"d", b"o", b"f"
MOST_SECONDS = 30
PR_SET_PTRACER, ANY = 0x59616D61, ctypes.c_ulong(-1)
_libc = ctypes.CDLL(None)

# the work: it calls the first when faults may begin, the second when it may say that it is done
Act = Callable[[Callable[[], None], Callable[[], None]], None]


@dataclass(frozen=True)
class Point:
    """The `number`-th (from 1) call of this name; `what` is what it was given, for a reader."""

    call: str
    number: int
    what: str

    def __str__(self) -> str:
        return f"{self.call} {self.number} ({self.what})"


@dataclass(frozen=True)
class Outcome:
    """How the process ended: killed or not, whether it said before that it was done, and the error it reported."""

    is_killed: bool
    is_done: bool
    error: str
    is_ours: bool


def points_of(trace: str) -> tuple[list[Point], list[Point]]:
    """The changing calls in what strace wrote down: those before the work was done, and those after."""
    before: list[Point] = []
    after: list[Point] = []
    counts: dict[str, int] = {}
    found = before
    for name, given in re.findall(r"^(\w+)\((.*)\) += ", trace, flags=re.MULTILINE):
        if name == DONE_MARK:
            found = after
        elif name in CHANGING:
            counts[name] = counts.get(name, 0) + 1
            found.append(Point(name, counts[name], given[:400]))
    return before, after


def recorded(act: Act, trace: Path, *, options: Sequence[str] = (), calls: Sequence[str] = ()) -> str:
    """What strace writes down of the work when nothing is in its way; `calls` beside those that change something."""
    shown = ",".join((*CHANGING, DONE_MARK, *calls))
    outcome = _traced(act, ["-o", str(trace), "-e", f"trace={shown}", "-y", *options], ends_at_once=False)
    assert outcome == Outcome(is_killed=False, is_done=True, error="", is_ours=False), outcome
    return trace.read_text()


def killed_at(point: Point, act: Act) -> Outcome:
    """The work, with SIGKILL in the place of one call."""
    return _traced(act, _injection(point, "signal=KILL"), ends_at_once=False)


def failing_at(point: Point, act: Act, *, error: str) -> Outcome:
    """The work, with one call failing; the process then ends as if killed, with the database not closed."""
    return _traced(act, _injection(point, f"error={error}"), ends_at_once=True)


def _injection(point: Point, fault: str) -> list[str]:
    inject = f"inject={point.call}:{fault}:when={point.number}"
    return ["-o", "/dev/null", "-e", f"trace={point.call}", "-e", inject]


def _traced(act: Act, options: Sequence[str], *, ends_at_once: bool) -> Outcome:
    told = mmap.mmap(-1, 4096)
    gate, opener = os.pipe()
    arrival, arrived = os.pipe()
    process = os.fork()
    if not process:
        os.close(opener)
        os.close(arrival)
        _work(act, told, _Gate(arrived, gate), ends_at_once=ends_at_once)
    os.close(gate)
    os.close(arrived)
    assert os.read(arrival, 1) == b"x", told[2:].rstrip(b"\0")
    os.close(arrival)
    strace = subprocess.Popen(["strace", "-p", str(process), *options], stderr=subprocess.PIPE, text=True)
    try:
        assert strace.stderr is not None
        with strace.stderr:
            assert "attached" in strace.stderr.readline()
            os.write(opener, b"x")
            strace.stderr.read()
        _, status = os.waitpid(process, 0)
        strace.wait(MOST_SECONDS)
    finally:
        os.close(opener)
    is_killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    kind, text = told[1:2], told[2:].rstrip(b"\0").decode()
    return Outcome(is_killed=is_killed, is_done=told[:1] == DONE, error=text, is_ours=kind == OURS)


@dataclass(frozen=True)
class _Gate:
    arrived: int
    gate: int

    def __call__(self) -> None:
        """Say that we are here, and wait until strace is here, too."""
        os.write(self.arrived, b"x")
        os.read(self.gate, 1)


def _work(act: Act, told: mmap.mmap, gate: _Gate, *, ends_at_once: bool) -> None:
    """What the process does; it never returns."""

    def done() -> None:
        told[0:1] = DONE
        os.getppid()
        if ends_at_once:
            os._exit(0)

    def failed(error: BaseException) -> None:
        text = f"{type(error).__name__}: {error}".encode()[:4000]
        told[1 : 2 + len(text)] = (OURS if isinstance(error, VmkilnError) else FOREIGN) + text

    try:
        _libc.prctl(PR_SET_PTRACER, ANY, 0, 0, 0)
        signal.alarm(MOST_SECONDS)
        if ends_at_once:
            Store.close = lambda _store: None  # type: ignore[method-assign]
        act(gate, done)
    except BaseException as error:
        failed(error)
    finally:
        os._exit(0)
