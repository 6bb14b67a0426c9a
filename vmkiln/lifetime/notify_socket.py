"""What systemd is told of a service: that it is ready, that it lives, that it ends; without systemd nothing.

Source: sd_notify(3) and its "Notes" on the protocol; systemd.service(5), `Type=notify`, `WatchdogSec=`.
"""

import contextlib
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from vmkiln.lifetime.rounds import Rounds

PINGS = 3  # in the time that systemd waits for one
MICROSECONDS = 1_000_000
MOST_STATUS_LETTERS = 500


@dataclass(frozen=True)
class NotifySocket:
    """Where systemd listens ('' when it does not), and within how many seconds it wants to hear again (0.0: never)."""

    address: str = ""
    watchdog_seconds: float = 0.0

    def tell(self, **values: str) -> None:
        """Tell systemd, such as `READY="1"`; what it does not hear is no reason to fail."""
        if not self.address:
            return
        text = "\n".join(f"{name}={' '.join(value.split())}" for name, value in values.items())
        path = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sending:
            sending.setblocking(False)
            sending.connect(path)
            sending.send(text.encode())

    async def watched(self, rounds: Rounds, problems: Callable[[], Sequence[str]]) -> None:
        """Tell systemd that the service lives, as long as it has no problem, until cancelled.

        When it has, or when this does not get its turn any more, systemd ends the service and starts it anew.
        """

        async def ping() -> None:
            found = problems()
            if found:
                self.tell(STATUS="; ".join(found)[:MOST_STATUS_LETTERS])
            else:
                self.tell(WATCHDOG="1", STATUS="well")

        await rounds.for_ever("watchdog", ping, seconds=self.watchdog_seconds / PINGS)


def notify_socket(environment: Mapping[str, str]) -> NotifySocket:
    """The socket that an environment names, if it is meant for this process."""
    address = environment.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return NotifySocket()
    microseconds = environment.get("WATCHDOG_USEC", "")
    is_ours = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    seconds = int(microseconds) / MICROSECONDS if microseconds.isdecimal() and is_ours else 0.0
    return NotifySocket(address, seconds)
