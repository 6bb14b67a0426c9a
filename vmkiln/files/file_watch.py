"""Wakes who waits for a file to grow, by the kernel's own word instead of looking again and again.

Source: inotify(7). It is three calls, which do not need a library.
"""

import contextlib
import ctypes
import os
import select
import time
from collections.abc import Callable, Iterator
from pathlib import Path

IN_MODIFY, IN_CREATE, IN_MOVED_TO = 0x2, 0x100, 0x80
LOOK_SECONDS = 0.1  # between two looks where the kernel does not tell
EVENTS_BYTES = 64 * 1024
_libc = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def watched(file: Path) -> Iterator[Callable[[float], None]]:
    """What waits until something is written in the file's folder, but not longer than so many seconds.

    Where the folder is not there yet, or the kernel watches no more for this user, it waits a short while instead. To
    be entered before the file is looked at.
    """
    descriptor = _libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
    is_watching = False

    def wait(seconds: float) -> None:
        nonlocal is_watching
        if not is_watching:
            is_watching = descriptor >= 0 and _is_added(descriptor, file.parent)
            time.sleep(min(seconds, LOOK_SECONDS))  # what came before the watch is seen by the look after this
            return
        if select.select([descriptor], [], [], seconds)[0]:
            os.read(descriptor, EVENTS_BYTES)

    try:
        is_watching = descriptor >= 0 and _is_added(descriptor, file.parent)
        yield wait
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _is_added(descriptor: int, folder: Path) -> bool:
    found: int = _libc.inotify_add_watch(descriptor, os.fsencode(folder), IN_MODIFY | IN_CREATE | IN_MOVED_TO)
    return found >= 0
