"""`vmkiln build` on a real terminal: what its live view leaves there, and what Ctrl-C does, typed once and again."""

import fcntl
import json
import os
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[3]
CTRL_C = b"\x03"
HIDDEN, SHOWN = b"\x1b[?25l", b"\x1b[?25h"  # the cursor
TEMPLATE = {
    "type": "Microsoft.VirtualMachineImages/imageTemplates",
    "apiVersion": "2025-10-01",
    "name": "web",
    "location": "westus2",
    "identity": {"type": "None"},
    "properties": {
        "source": {"type": "PlatformImage", "publisher": "Debian", "offer": "debian-12", "sku": "12-gen2"},
        "customize": [{"type": "Shell", "inline": ["true"]}],
        "distribute": [{"type": "VHD", "runOutputName": "vhd"}],
    },
}


class Terminal:
    """A terminal of 80 columns on which a build is at work."""

    def __init__(self, folder: Path) -> None:
        self.told = b""
        self._typed = 0  # where what was told begins since a key was last pressed
        self.release = folder / "release"
        (folder / "template.json").write_text(json.dumps(TEMPLATE))
        self._master, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        environment = {
            "HOME": str(folder),
            "VMKILN_HOME": str(folder / "home"),
            "PATH": "/usr/bin:/bin",
            "TERM": "xterm",
            "LC_ALL": "C.UTF-8",
            "PYTHONPATH": f"{TESTS}:{TESTS.parent}",
        }
        words = [str(self.release), "build", str(folder / "template.json")]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "stand_ins.live_build", *words],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment,
            start_new_session=True,
        )
        os.close(slave)

    def read_until(self, text: str) -> None:
        """Wait until something was told since a key was last pressed."""
        while text.encode() not in self.told[self._typed :]:
            part = self._part()
            assert part, f"`{text}` was not told: {self.told[self._typed :]!r}"
            self.told += part

    def type(self, keys: bytes) -> None:
        """Press keys."""
        self._typed = len(self.told)
        os.write(self._master, keys)

    def read_to_end(self) -> int:
        """Wait until the build has ended; gives its exit code."""
        while part := self._part():
            self.told += part
        return self.process.wait()

    def close(self) -> None:
        """End what is left."""
        self.process.kill()
        self.process.wait()
        os.close(self._master)

    def _part(self) -> bytes:
        try:
            return os.read(self._master, 65536)
        except OSError:  # nobody has it open any more
            return b""


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    opened = Terminal(tmp_path)
    try:
        opened.read_until("the step goes on")
        yield opened
    finally:
        opened.close()


def test_ctrl_c_is_answered_at_once_and_waits_for_the_clean_up(terminal: Terminal) -> None:
    terminal.read_until("hello from the guest")
    terminal.type(CTRL_C)
    terminal.read_until("cancelling; everything temporary is being deleted")
    assert terminal.process.poll() is None, "it cleans up"
    terminal.type(CTRL_C)
    terminal.read_until("still cleaning up; wait a moment")
    assert terminal.process.poll() is None, "pressed again, it cleans up all the same"
    terminal.release.touch()
    assert terminal.read_to_end() == 130
    assert b"everything temporary is deleted" in terminal.told
    assert b"Traceback" not in terminal.told


def test_a_cancelled_build_leaves_the_terminal_as_it_was(terminal: Terminal) -> None:
    assert HIDDEN in terminal.told
    terminal.release.touch()
    terminal.type(CTRL_C)
    assert terminal.read_to_end() == 130
    assert terminal.told.rfind(SHOWN) > terminal.told.rfind(HIDDEN), "the cursor is back"
    last = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", terminal.told).rsplit(b"\n", 1)[-1]
    assert b"Customizing" not in last, "the live line is gone"
