"""Beside a customizer's script in its VM: knocks at the door of what stays there, and waits until it may go on.

It is part of the text that runs the script (`packer/step_runner.py`), so it loads next to nothing. It begins what stays
where nothing does: in a VM that was booted for its build, or has restarted.
"""

import _socket
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

DOOR = "vmkiln-%s"  # as `guest_renewal.py3` has it
BEGIN_SECONDS = 60.0
LOOK_SECONDS = 0.02


def visited(token: str, script: str, name: str) -> bool:
    """Whether somebody is there, and this may go on: the host has saved the VM, or has not."""
    way = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        way.connect(b"\0" + (DOOR % token).encode())
        way.sendall(("%s %s\n" % (name, script)).encode())
        return way.recv(8) != b""
    except OSError:
        return False
    finally:
        way.close()


def waited(
    token: str, begin: str, script: str, name: str, output_of: "Callable[[list[str]], tuple[int, bytes]]"
) -> bytes:
    """Wait under this name; where nobody is there, `begin` is a shell's text that has it begun. Gives what is wrong."""
    if visited(token, script, name):
        return b""
    said = output_of(["sh", "-c", begin])[1].strip()
    deadline = time.monotonic() + BEGIN_SECONDS
    while not said and not visited(token, script, name):
        if time.monotonic() > deadline:
            said = b"the VM cannot be kept here: what is to wait in it did not begin"
        time.sleep(LOOK_SECONDS)
    return said
