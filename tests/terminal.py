"""A terminal with a program on it, as a person has it: keys are typed, and what is told is read."""

import fcntl
import os
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence

CTRL_C = b"\x03"
HIDDEN, SHOWN = b"\x1b[?25l", b"\x1b[?25h"  # the cursor
CONTROL = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A terminal of 24 lines and 80 columns on which a program is at work; `told` is all bytes that it wrote."""

    def __init__(self, words: Sequence[str], *, environment: Mapping[str, str] | None = None) -> None:
        self.told = b""
        self._typed = 0  # where what was told begins since a key was last pressed
        self._master, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        # the program has the terminal as its own, as one that a person's shell starts: Ctrl-C is a signal to it
        owner = ["setsid", "--ctty", *words]
        self.process = subprocess.Popen(owner, stdin=slave, stdout=slave, stderr=slave, env=environment)
        os.close(slave)

    def read_until(self, text: str, *, seconds: float = 60) -> None:
        """Wait until something was told since a key was last pressed."""
        deadline = time.monotonic() + seconds
        while text.encode() not in CONTROL.sub(b"", self.told[self._typed :]):
            part = self._part(deadline - time.monotonic())
            assert part, f"`{text}` was not told: {self.told[self._typed :]!r}"
            self.told += part

    def type(self, keys: bytes) -> None:
        """Press keys."""
        self._typed = len(self.told)
        os.write(self._master, keys)

    def read_to_end(self, *, seconds: float = 60) -> int:
        """Wait until the program has ended; gives its exit code."""
        deadline = time.monotonic() + seconds
        while part := self._part(deadline - time.monotonic()):
            self.told += part
        return self.process.wait(max(1.0, deadline - time.monotonic()))

    @property
    def last_line(self) -> bytes:
        """The line that the cursor was left in, without control sequences."""
        return CONTROL.sub(b"", self.told).rsplit(b"\n", 1)[-1]

    def close(self) -> None:
        """End what is left."""
        self.process.kill()
        self.process.wait()
        os.close(self._master)

    def _part(self, seconds: float) -> bytes:
        if not select.select([self._master], [], [], max(0.0, seconds))[0]:
            return b""
        try:
            return os.read(self._master, 65536)
        except OSError:  # nobody has it open any more
            return b""
