"""How a process ends for sure: it says why, and is gone a moment later, whoever does or does not listen.

What is said last is said by a thread of its own: the log may block for ever, as a full pipe does that nobody reads.
What a clean-up waits for is told: where the tasks of the loop stand, and the threads whose calls have not come back.
Source: alarm(2): the kernel ends the process even when none of its threads can run any more.
"""

import asyncio
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import thread as pool
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

SAY_SECONDS = 2.0
ALARM_SECONDS = 10.0  # after the moment at which the process should have ended by itself
MOST_NAMES = 8
IDLE = pool.__file__  # where a thread of a pool stands that has nothing to do
PACKAGE = f"{Path(__file__).parents[1]}/"
log = logging.getLogger(__name__)


def end_now(status: int, text: str) -> NoReturn:
    """End this process at once with a status, after the log has had a moment to take the reason."""
    try:
        saying = threading.Thread(target=_say, args=[text], name="last-words", daemon=True)
        saying.start()
        saying.join(SAY_SECONDS)
    finally:  # also when there is no thread to be had
        os._exit(status)


def _say(text: str) -> None:
    log.critical("%s", text)
    logging.shutdown()


def end_within(seconds: float, *, status: int, text: Callable[[], str]) -> None:
    """End this process in so many seconds, if it has not come to its end by then; `text` says why, and is logged."""
    signal.alarm(int(seconds + SAY_SECONDS + ALARM_SECONDS))
    timer = threading.Timer(seconds, lambda: end_now(status, text()))
    timer.daemon = True
    try:
        timer.start()
    except RuntimeError:
        log.warning("there is no thread to be had that would end this process: the kernel does, a little later")


def waited_for(loop: asyncio.AbstractEventLoop | None) -> str:
    """What an end waits for: the tasks of a loop and the threads of blocking calls, each with where it stands."""
    tasks = _tasks_of(loop) if loop is not None else []
    return f"tasks: {_some(tasks)}; threads: {_some(_threads())}"


def _tasks_of(loop: asyncio.AbstractEventLoop) -> list[str]:
    try:
        return sorted(f"{task.get_name()}{_place(_frames_of(task))}" for task in asyncio.all_tasks(loop))
    except RuntimeError:  # they change meanwhile
        return ["unknown"]


def _frames_of(task: "asyncio.Task[Any]") -> Iterator[FrameType]:
    """Where a task stands, the outermost first."""
    inner: Any = task.get_coro()
    while inner is not None:
        for kind in ("cr", "ag", "gi"):
            if (frame := getattr(inner, f"{kind}_frame", None)) is not None:
                yield frame
                inner = getattr(inner, "gi_yieldfrom" if kind == "gi" else f"{kind}_await", None)
                break
        else:
            return


def _threads() -> list[str]:
    """The threads that the process would wait for, and that do something."""
    found = []
    frames = sys._current_frames()
    for thread in threading.enumerate():
        if thread.daemon or thread is threading.main_thread() or thread.ident not in frames:
            continue
        stack = [frame for frame, _line in traceback.walk_stack(frames[thread.ident])]
        if stack[0].f_code.co_filename != IDLE:
            found.append(f"{thread.name}{_place(reversed(stack))}")
    return sorted(found)


def _place(frames: Iterable[FrameType]) -> str:
    """The innermost line of ours among some, the outermost first; else the innermost of all."""
    all_frames = list(frames)
    ours = [frame for frame in all_frames if PACKAGE in frame.f_code.co_filename]
    for frame in (ours or all_frames)[-1:]:
        return f" in {frame.f_code.co_qualname}, line {frame.f_lineno}"
    return ""


def _some(names: list[str]) -> str:
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return (", ".join(names[:MOST_NAMES]) or "none") + more
