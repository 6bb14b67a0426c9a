"""What a test's or a bench's process leaves behind when it is killed is ended by another, which outlives it.

The kernel tells that other one: its standard input ends when this process does, however that happens. What is started
with `WITH_US` before it ends with the thread that started it, also before there is a guard.
"""

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

ENDS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
WITH_US = ("setpriv", "--pdeathsig", "KILL", "--")
NOT_TOLD = 'read -r _ || exec "$@"'  # sh(1): end of file is no line


@contextlib.contextmanager
def when_killed(*command: str | Path) -> Iterator[None]:
    """Carry out a command when this process dies while the block lasts, or an error ends the block."""
    guard = subprocess.Popen(
        ["sh", "-c", NOT_TOLD, "guard", *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # what ends a terminal's processes is not for it
    )
    try:
        yield
    except BaseException:
        guard.communicate()  # end of file: what the block could not end itself, for it was disturbed, the guard does
        raise
    guard.communicate(b"over\n")


def group_is_killed(process_id: int) -> Sequence[str]:
    """The command that kills a process with all of its group."""
    return ("sh", "-c", 'kill -s KILL -- "-$0"', str(process_id))


def ended_by_signals() -> None:
    """Let the first SIGTERM, SIGINT or SIGHUP end this program as an error does: what it started ends.

    Those that follow are ignored, for they would end the cleaning up in its middle.
    """

    def end(number: int, _frame: object) -> None:
        for each in ENDS:
            signal.signal(each, signal.SIG_IGN)
        sys.exit(128 + number)

    for each in ENDS:
        signal.signal(each, end)
