"""Finds calls that block an event loop, by intercepting them: no clock is asked, so a fast disk hides nothing.

Intercepted are statements and commits of a database, files that are opened, made, moved, deleted or locked, syncs, big
hashes and passwords' hashes, big JSON, filled-in pages, certificates that are read, names that are looked up, and
waiting: for threads, processes, or time. A call counts when a loop runs in its thread, and the coroutine (or callback
of the loop) that made it is the product's, or a stand-in's for a part of it.
"""

import asyncio
import contextlib
import fcntl
import functools
import hashlib
import inspect
import json
import os
import ssl
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import jinja2
import sqlalchemy as sa

ROOT = Path(__file__).parents[1]
PRODUCT = f"{ROOT / 'vmkiln'}/"
TESTS = f"{ROOT / 'tests'}/"
STAND_INS = {f"{TESTS}{name}" for name in ("stub_build.py", "stub_service.py", "stub_worker.py")}
# a command has its loop for itself, but for those that serve
SERVING_COMMANDS = {f"{PRODUCT}cli/commands/{name}" for name in ("serve.py", "worker.py")}
BIG = 64 * 1024  # letters or bytes: less is done in a tenth of a millisecond
FILES = {  # audit events, with where the path is among their arguments
    "open": 0,
    "os.chmod": 0,
    "os.link": 1,
    "os.listdir": 0,
    "os.mkdir": 0,
    "os.remove": 0,
    "os.rename": 1,
    "os.rmdir": 0,
    "os.scandir": 0,
    "os.symlink": 1,
    "os.truncate": 0,
    "os.utime": 0,
    "shutil.copyfile": 1,
    "shutil.rmtree": 0,
    "sqlite3.connect": 0,
}
ALWAYS = {"os.fork", "os.system", "socket.getaddrinfo", "socket.gethostbyaddr", "socket.gethostbyname"}
SOMETIMES: dict[str, Callable[..., bool]] = {
    "fcntl.flock": lambda _file, operation: not operation & fcntl.LOCK_NB,
    "socket.connect": lambda connection, _address: connection.gettimeout() != 0,
}
# kept in memory by the kernel, or read once when a module or a page is loaded; so is a module's text for a traceback
NOT_ON_DISK = (
    "/proc/",
    "/sys/",
    "/dev/null",
    "/dev/urandom",
    "/dev/random",
    "/dev/tty",
    "/dev/pts/",
    "/dev/net/",
    "/dev/kvm",
    "/usr/share/zoneinfo/",
    PRODUCT,
    *sysconfig.get_paths().values(),
)
IS_ASYNC = inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR


@dataclass(frozen=True, order=True)
class Blocked:
    """A call that blocked a loop: who made it (`file:line function`), what it was, and where it was made in the end."""

    owner: str
    call: str
    place: str

    def __str__(self) -> str:
        return f"{self.owner}: {self.call} ({self.place})"


@dataclass
class Watch:
    """What was found while it is on."""

    found: set[Blocked] = field(default_factory=set)
    is_on: bool = False

    def report(self) -> str:
        """Every place, one a line."""
        return "\n".join(["on the event loop:", *map(str, sorted(self.found))])


_watch = Watch()


def _blocks(call: str, detail: object = "") -> None:
    """Note a call that blocks, if it was made on a loop of ours."""
    if not _watch.is_on or asyncio._get_running_loop() is None:
        return
    owner, place = _made_by(sys._getframe(2))
    if owner is not None:
        _watch.found.add(Blocked(_where(owner), f"{call} {detail}".strip(), _where(place or owner)))


def _made_by(frame: FrameType | None) -> tuple[FrameType | None, FrameType | None]:
    """The coroutine of ours, or else the function that the loop called, that made a call; and our innermost one."""
    outermost: FrameType | None = None
    innermost: FrameType | None = None
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith(PRODUCT) or (name.startswith(TESTS) and name != __file__):
            innermost, outermost = innermost or frame, frame
            if frame.f_code.co_flags & IS_ASYNC:
                break
        elif name == asyncio.events.__file__ and frame.f_code.co_name == "_run":
            break  # what the loop calls; below it is who started the loop
        elif name == threading.__file__ and frame.f_code.co_name == "start":
            return None, None  # a thread is started, and waited for until it runs
        frame = frame.f_back
    is_ours = all(each is not None and _counts(each.f_code.co_filename) for each in (outermost, innermost))
    return (outermost, innermost) if is_ours else (None, None)


def _counts(file: str) -> bool:
    """Whether a file is the product's, and one whose loop serves more than one errand, or a stand-in for such."""
    is_command = file.startswith(f"{PRODUCT}cli/") and file not in SERVING_COMMANDS
    return (file.startswith(PRODUCT) and not is_command) or file in STAND_INS


def _where(frame: FrameType) -> str:
    return f"{Path(frame.f_code.co_filename).relative_to(ROOT)}:{frame.f_lineno} {frame.f_code.co_qualname}"


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if not _watch.is_on:
        return
    if event in FILES:
        path = arguments[FILES[event]]
        text = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else ""
        if text and not text.startswith(NOT_ON_DISK) and not text.endswith(".py"):
            _blocks(event, text.rsplit("/", 1)[-1])
    elif event in ALWAYS or (event in SOMETIMES and SOMETIMES[event](*arguments)):
        _blocks(event)


def _replaced(owner: Any, name: str, is_blocking: Callable[..., bool] = lambda *_, **__: True) -> None:
    """Have calls of a function noted when they block, judged by their arguments."""
    function = getattr(owner, name)

    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        if is_blocking(*arguments, **named):
            _blocks(f"{getattr(owner, '__name__', owner)}.{name}")
        return function(*arguments, **named)

    setattr(owner, name, call)


def _dumps_noted(function: Callable[..., str]) -> Callable[..., str]:
    @functools.wraps(function)
    def dumps(*arguments: Any, **named: Any) -> str:
        text = function(*arguments, **named)
        if len(text) > BIG:
            _blocks("json.dumps")
        return text

    return dumps


class _Hash:
    """A hash that notes big updates."""

    def __init__(self, own: Any) -> None:
        self._own = own

    def update(self, content: Any) -> None:
        if len(content) > BIG:
            _blocks("hash of much")
        self._own.update(content)

    def copy(self) -> "_Hash":
        return _Hash(self._own.copy())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)


def _hash_noted(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def new(*arguments: Any, **named: Any) -> _Hash:
        if any(isinstance(content, bytes | bytearray | memoryview) and len(content) > BIG for content in arguments):
            _blocks("hash of much")
        return _Hash(function(*arguments, **named))

    return new


def _is_unset(event: threading.Event, *_: object, **__: object) -> bool:
    return not event.is_set()


@functools.cache
def _intercepted() -> None:
    """Once in a process; there is no way to take an audit hook away, and the rest is idle when nobody watches."""
    sys.addaudithook(_audit)
    for event in ("before_cursor_execute", "commit", "begin"):
        sa.event.listen(sa.engine.Engine, event, functools.partial(_statement, event))
    _replaced(os, "fsync")
    _replaced(os, "fdatasync")
    _replaced(os, "posix_fallocate")
    _replaced(time, "sleep", lambda seconds: seconds > 0)
    _replaced(subprocess.Popen, "wait")
    _replaced(subprocess.Popen, "communicate")
    _replaced(threading.Thread, "join", lambda thread, *_, **__: thread.is_alive())
    _replaced(threading.Event, "wait", _is_unset)
    _replaced(threading.Condition, "wait", lambda _condition, timeout=None: timeout is None or timeout > 0)
    _replaced(ssl.SSLContext, "load_verify_locations")
    _replaced(ssl.SSLContext, "load_default_certs")
    _replaced(jinja2.Template, "render")
    _replaced(hashlib, "scrypt")
    _replaced(hashlib, "pbkdf2_hmac")
    _replaced(hashlib, "file_digest")
    _replaced(json, "loads", lambda text, *_, **__: len(text) > BIG)
    json.dumps = _dumps_noted(json.dumps)
    for name in ("sha1", "sha256", "sha512", "md5"):
        setattr(hashlib, name, _hash_noted(getattr(hashlib, name)))


def _statement(event: str, *_arguments: object) -> None:
    _blocks(f"database {event}")


@contextlib.contextmanager
def watched() -> Iterator[Watch]:
    """Watch every loop of this process while the block lasts."""
    _intercepted()
    _watch.found, _watch.is_on = set(), True
    try:
        yield _watch
    finally:
        _watch.is_on = False


@contextlib.contextmanager
def no_loop_waits() -> Iterator[None]:
    """Nothing of ours blocks a loop while the block lasts. Raises: `AssertionError` with every place that did."""
    with watched() as watch:
        yield
    assert not watch.found, watch.report()
