"""The program inside a run's namespaces that tells every connection of the run's, from the kernel's own table.

`watch` tells each connection when the kernel forgets it, with all that went over it, until it is killed. The kernel
keeps what it could not tell and tells it again (NETLINK_BROADCAST_ERROR), so that a flood loses none. `last` tells
those that are remembered still. Each is one line of JSON on standard output.
Source: the kernel's net/netfilter/nf_conntrack_ecache.c.
"""

import json
import socket
import sys
from dataclasses import asdict

from vmkiln.host.network.conntrack import DELETE, DONE, ERROR, NEW, Connection, asking_for_all, connections_in

NETFILTER = 12
SOL_NETLINK = 270
ADD_MEMBERSHIP, BROADCAST_ERROR, NO_ENOBUFS = 1, 4, 5
DESTROYED = 3  # the group of connections that the kernel forgets
READ_BYTES = 1024 * 1024
READY = "ready"


def tell(connection: Connection) -> None:
    """One line."""
    sys.stdout.write(json.dumps(asdict(connection)) + "\n")


def watch() -> None:
    """Tell what the kernel forgets, until killed."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETFILTER) as ear:
        ear.bind((0, 0))
        ear.setsockopt(SOL_NETLINK, BROADCAST_ERROR, 1)
        ear.setsockopt(SOL_NETLINK, NO_ENOBUFS, 1)
        ear.setsockopt(SOL_NETLINK, ADD_MEMBERSHIP, DESTROYED)
        sys.stdout.write(f"{READY}\n")
        sys.stdout.flush()
        while data := ear.recv(READ_BYTES):
            for kind, connection in connections_in(data):
                if kind == DELETE and connection is not None:
                    tell(connection)
            sys.stdout.flush()


def last() -> None:
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
                    tell(connection)
                is_over = is_over or kind == DONE


if __name__ == "__main__":
    {"watch": watch, "last": last}[sys.argv[1]]()
