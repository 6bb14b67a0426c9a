"""The program inside a run's namespaces that tells every connection of the run's, from the kernel's own table.

It tells each connection when the kernel forgets it, with all that went over it. The kernel keeps what it could not tell
and tells it again (NETLINK_BROADCAST_ERROR), so that a flood loses none. At SIGTERM it tells those that are remembered
still, and ends. Each is one line of JSON on standard output; of more than a run's log has entries it tells how many.
Source: the kernel's net/netfilter/nf_conntrack_ecache.c; proc(5) for the columns of `net/netlink`.
"""

import contextlib
import json
import os
import select
import signal
import socket
import sys
import time
from dataclasses import asdict

from vmkiln.host.network.conntrack import DELETE, DONE, ERROR, NEW, Connection, asking_for_all, connections_in

NETFILTER = 12
SOL_NETLINK = 270
ADD_MEMBERSHIP, BROADCAST_ERROR, NO_ENOBUFS = 1, 4, 5
DESTROYED = 3  # the group of connections that the kernel forgets
READ_BYTES = 1024 * 1024
READY = "ready"
SETTLE_SECONDS = 0.2  # what the kernel could not tell at once is told within
MOST_TOLD = 20_000  # connections of a run, one by one: as many as its log has entries
REST_SECONDS = 1.0  # between two counts of the others
MORE = "more"


class Teller:
    """Tells connections: a line for each, and in the end how many more there were.

    The lines are read by the service, between those of all other runs.
    """

    def __init__(self) -> None:
        self._told = self._rest = 0
        self._counted = float("-inf")

    def tell(self, connection: Connection) -> None:
        """One connection."""
        if self._told >= MOST_TOLD:
            self._rest += 1
            return
        self._told += 1
        sys.stdout.write(json.dumps(asdict(connection)) + "\n")

    def pass_on(self, *, is_over: bool = False) -> None:
        """Let what was told be read, with the count of the rest when it is time for it."""
        now = time.monotonic()
        if self._rest and (is_over or now - self._counted >= REST_SECONDS):
            sys.stdout.write(json.dumps({MORE: self._rest}) + "\n")
            self._rest, self._counted = 0, now
        sys.stdout.flush()


def main() -> None:
    """Tell what the kernel forgets, until SIGTERM; then what it forgot until then, and what it remembers."""
    wakened, wakening = socket.socketpair()
    wakening.setblocking(False)
    signal.set_wakeup_fd(wakening.fileno())
    signal.signal(signal.SIGTERM, lambda _number, _frame: None)  # its number comes by `wakened`
    teller = Teller()
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETFILTER) as ear:
        ear.bind((0, 0))
        ear.setsockopt(SOL_NETLINK, BROADCAST_ERROR, 1)
        ear.setsockopt(SOL_NETLINK, NO_ENOBUFS, 1)
        ear.setsockopt(SOL_NETLINK, ADD_MEMBERSHIP, DESTROYED)
        _say(READY)
        is_over = False
        while not is_over:
            is_over = wakened in select.select([ear, wakened], [], [])[0]
            drain(ear, teller)
        if was_overrun(ear):
            time.sleep(SETTLE_SECONDS)
            drain(ear, teller)
        last(teller)
        drain(ear, teller)  # what was forgotten while those were told
        teller.pass_on(is_over=True)


def drain(ear: socket.socket, teller: Teller) -> None:
    """Tell all that has been forgotten by now."""
    with contextlib.suppress(BlockingIOError):
        while data := ear.recv(READ_BYTES, socket.MSG_DONTWAIT):
            for kind, connection in connections_in(data):
                if kind == DELETE and connection is not None:
                    teller.tell(connection)
            teller.pass_on()


def was_overrun(ear: socket.socket, listed: str = "/proc/self/net/netlink") -> bool:
    """Whether the kernel had more to tell than it could, and keeps some of it; so, too, when that cannot be seen."""
    own = os.fstat(ear.fileno()).st_ino
    with contextlib.suppress(OSError), open(listed) as file:  # noqa: PTH123 (the supervisor loads no pathlib for it)
        for words in map(str.split, file):
            if words[-1] == str(own):
                return words[-2] != "0"
    return True


def last(teller: Teller) -> None:
    """Tell what the kernel remembers. Raises: `OSError` when it refuses."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETFILTER) as table:
        table.bind((0, 0))
        table.send(asking_for_all())
        is_over = False
        while not is_over:
            for kind, connection in connections_in(table.recv(READ_BYTES)):
                if kind == ERROR:
                    raise OSError("the kernel does not tell its connections")
                if kind == NEW and connection is not None:
                    teller.tell(connection)
                is_over = is_over or kind == DONE


def _say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()
