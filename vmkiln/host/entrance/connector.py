"""A program that connects, from inside a namespace, to the one port of its guest, and hands each connection outside.

`python -I -m vmkiln.host.entrance.connector ADDRESS PORT`, with a socket as standard input: for each byte that comes
it connects once, and answers `+` with the connection's descriptor, or `-`. It ends when that socket does.
"""

import socket
import sys

CONNECT_SECONDS = 10.0


def serve(control: socket.socket, address: str, port: int) -> None:
    """Connect for whoever asks, until nobody can."""
    while control.recv(1):
        try:
            with socket.create_connection((address, port), timeout=CONNECT_SECONDS) as found:
                socket.send_fds(control, [b"+"], [found.fileno()])
        except OSError:
            control.sendall(b"-")


def main() -> None:
    """Serve as the arguments say."""
    with socket.socket(fileno=0) as control:
        serve(control, sys.argv[1], int(sys.argv[2]))


if __name__ == "__main__":
    main()
