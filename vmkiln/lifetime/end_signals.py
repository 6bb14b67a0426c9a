"""SIGTERM and SIGHUP end a command as Ctrl-C does, wherever it is just then: its clean-ups run, and it ends with 130.

Else they would end it on the spot while it is not in an event loop of ours, and `finally` would not run. What `nohup`
started goes on when its terminal is closed. Children begin with the system's own way.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ENDS = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def as_interrupts() -> Iterator[None]:
    """Until it is left, both are Ctrl-C; but one that is ignored. A thread beside the main one changes nothing."""
    before = {}
    if threading.current_thread() is threading.main_thread():
        handlers = {number: signal.getsignal(number) for number in ENDS}
        before = {number: handler for number, handler in handlers.items() if handler not in {signal.SIG_IGN, None}}
    for number in before:
        signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(_number: int, frame: FrameType | None) -> None:
    at_interrupt = signal.getsignal(signal.SIGINT)
    if callable(at_interrupt):  # Python's own raises, asyncio's cancels what it runs
        at_interrupt(signal.SIGINT, frame)
    else:  # a shell has it ignored in what it starts in the background
        raise KeyboardInterrupt
