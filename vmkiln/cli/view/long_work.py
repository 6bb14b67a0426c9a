"""What a command does while it has nothing else to say: told on standard error, once that takes long.

Who waits can tell a command that works from one that hangs, without a terminal too.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from vmkiln.cli.output import say

FIRST_SECONDS = 10.0
LATER_SECONDS = 60.0  # from one line to the next


@contextmanager
def long_work(text: str) -> Iterator[Callable[[str], None]]:
    """Tell what goes on and for how long so far, from the tenth second on, then less often; gives what changes it."""
    told = [(text, time.monotonic())]
    is_over = threading.Event()

    def tell() -> None:
        pause = FIRST_SECONDS
        while not is_over.wait(pause):
            what, since = told[-1]
            say(f"{what}: {time.monotonic() - since:.0f} s so far")
            pause = min(2 * pause, LATER_SECONDS)

    def now(what: str) -> None:
        told[:] = [(what, time.monotonic())]

    thread = threading.Thread(target=tell, name="long work", daemon=True)
    thread.start()
    try:
        yield now
    finally:
        is_over.set()
        thread.join()
