"""What ssh runs as the way into a held VM: it knocks at the run's door, and bytes pass between it and ssh.

`python -m vmkiln.run.held.visitor FOLDER`. What goes wrong is told on standard error, with exit status 1.
"""

import os
import selectors
import socket
import sys
from pathlib import Path

from vmkiln.errors import InputError
from vmkiln.run.held.door import ENTER, knock

CHUNK_BYTES = 65536


def pass_between(door: socket.socket, source: int, sink: int) -> None:
    """Pass bytes from `source` to the door and from the door to `sink`, until either ends. Raises: `OSError`."""
    with selectors.DefaultSelector() as selector:
        selector.register(source, selectors.EVENT_READ)
        selector.register(door, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                is_of_door = key.fileobj is door
                chunk = door.recv(CHUNK_BYTES) if is_of_door else os.read(source, CHUNK_BYTES)
                if not chunk:
                    return
                if not is_of_door:
                    door.sendall(chunk)
                    continue
                while chunk:
                    chunk = chunk[os.write(sink, chunk) :]


def main(arguments: list[str]) -> int:
    """Knock and pass bytes; gives the exit status."""
    try:
        with knock(Path(arguments[0]), ENTER) as door:
            pass_between(door, 0, 1)
    except InputError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"the way into the failed VM broke off: {error.strerror or error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
