"""What a test's or a bench's process leaves behind when it is killed is ended by another, which outlives it.

The kernel tells that other one: its standard input ends when this process does, however that happens.
"""

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

NOT_TOLD = 'read -r _ || exec "$@"'  # sh(1): end of file is no line


@contextlib.contextmanager
def when_killed(*command: str | Path) -> Iterator[None]:
    """Carry out a command when this process dies while the block lasts; nothing when the block ends."""
    guard = subprocess.Popen(
        ["sh", "-c", NOT_TOLD, "guard", *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # what ends a terminal's processes is not for it
    )
    try:
        yield
    finally:
        guard.communicate(b"over\n")


def group_is_killed(process_id: int) -> Sequence[str]:
    """The command that kills a process with all of its group."""
    return ("sh", "-c", 'kill -s KILL -- "-$0"', str(process_id))


def ended_by_sigterm() -> None:
    """Let SIGTERM end this program as an error does: what it opened is closed, what it started ends."""
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
