"""Ids for the VMs of one run: a block of the user's subordinate ids that no other run of the user has at the time.

All processes of a user draw on one range, also those with other state directories and in other mount namespaces. So
the lock is no file: it is an abstract socket, whose name one process of a network namespace can have at a time, and
which the kernel frees with the last process that holds it. The supervisor holds it too: a block is free again when its
VMs are gone, and not before. Whoever works in another network namespace is seen by the ids of living processes.
Sources: unix(7), "Abstract sockets"; subuid(5).
"""

import contextlib
import errno
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass

from vmkiln.errors import HostUnfit

BLOCK = 8  # ids of a run; it has two VMs at a time
SERVICES = 4  # the last of them: for what serves a run's guests as long as the run lasts
LEAST_COUNT = 4096
MOST_BLOCKS = 1024


@dataclass(frozen=True)
class VmIds:
    """A block of ids as they are inside the run's user namespace, and the descriptor that holds it."""

    first: int
    lock: int

    def of(self, index: int) -> int:
        """The id of the run's VM of this number. Raises: `ValueError` when the block has no more."""
        if not 0 <= index < BLOCK:
            raise ValueError(f"a run has ids for {BLOCK} VMs")
        return self.first + index


def block_starts(count: int) -> range:
    """The first ids, inside, of the blocks in a range of so many subordinate ids; pure.

    They lie in the second half: images are made as the first ids, and as the last one, which is nobody.
    """
    return range(count // 2 + 1, count - BLOCK - 2, BLOCK)[:MOST_BLOCKS]


@contextlib.contextmanager
def allotted(*, first_outside: int, count: int) -> Iterator[VmIds]:
    """A block of the range whose first id, outside, is given. Raises: `HostUnfit` when there is none."""
    if count < LEAST_COUNT:
        raise HostUnfit(
            f"this user has {count} subordinate ids, and every virtual machine runs as one of its own",
            hint=f"give the user at least {LEAST_COUNT}, better 65536, in /etc/subuid and /etc/subgid",
        )
    busy = _ids_of_processes()
    for first in block_starts(count):
        outside = range(first_outside + first - 1, first_outside + first - 1 + BLOCK)
        if not busy.isdisjoint(outside):
            continue
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as lock:
            try:
                lock.bind(f"\0vmkiln-ids/{outside.start}")
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                continue
            yield VmIds(first, lock.fileno())
            return
    raise HostUnfit("all subordinate ids of this user are taken by runs", hint="wait until some have ended")


def _ids_of_processes() -> set[int]:
    """The user ids of all living processes that can be seen."""
    found = set()
    for entry in os.scandir("/proc"):
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):  # it ended
                found.add(entry.stat().st_uid)
    return found
