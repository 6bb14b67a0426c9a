"""Processes whose standard error nobody reads: a pipe that is full from the start."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

FILL = """
import fcntl as _fcntl, os as _os
_flags = _fcntl.fcntl(2, _fcntl.F_GETFL)
_fcntl.fcntl(2, _fcntl.F_SETFL, _flags | _os.O_NONBLOCK)
for _size in (4096, 1):
    try:
        while True:
            _os.write(2, b"x" * _size)
    except BlockingIOError:
        pass
_fcntl.fcntl(2, _fcntl.F_SETFL, _flags)
"""
Process = subprocess.Popen[bytes]


@contextlib.contextmanager
def unread(script: str, *arguments: str | Path, environment: Mapping[str, str] | None = None) -> Iterator[Process]:
    """A Python process that runs a script; what it says on standard error fills a pipe, and is read by whoever asks."""
    command = [sys.executable, "-c", FILL + script, *map(str, arguments)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        try:
            yield process
        finally:
            process.kill()
