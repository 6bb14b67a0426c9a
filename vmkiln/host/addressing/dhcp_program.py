"""Who gives a run's build VM its address, as it runs in its jail: for guests that cannot be told it by a disc.

It answers one guest, on one link, and has one address to give. Standard library only, one socket, no state. What
becomes of the guest's questions is one word a line on standard output, told when it changes.

Started as `main()` with its `Orders` as JSON in its one argument.
"""

import json
import socket
import sys
import time
from dataclasses import asdict, dataclass

from vmkiln.host.addressing import dhcp_message
from vmkiln.host.addressing.dhcp_message import Answer, Kind, Lease

PORT, CLIENT_PORT = 67, 68
MOST_A_SECOND = 20
READY = "ready"
WORDS = {Kind.OFFER: "offered", Kind.ACK: "given", Kind.NAK: "refused"}


@dataclass(frozen=True)
class Orders:
    """What it is told: the link that it serves, by the name of its interface, and what it has to give."""

    interface: str
    lease: Lease

    def text(self) -> str:
        """For its argument list."""
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, text: str) -> "Orders":
        """What `text` gave."""
        found = json.loads(text)
        return cls(found["interface"], Lease(**found["lease"]))


class Measure:
    """At most so many answers in a second; what is beyond is passed over, and a guest asks again."""

    def __init__(self, most_a_second: int = MOST_A_SECOND) -> None:
        self._most = most_a_second
        self._second = -1
        self._count = 0

    def has_room(self, now: float) -> bool:
        """Whether one more is answered at this time (seconds)."""
        if int(now) != self._second:
            self._second, self._count = int(now), 0
        self._count += 1
        return self._count <= self._most


def answer_to(data: bytes, lease: Lease) -> Answer | None:
    """What is said to a datagram; pure."""
    request = dhcp_message.read(data)
    return None if request is None else dhcp_message.answer(request, lease)


def serve(orders: Orders) -> None:
    """Answer until killed."""
    told, measure = "", Measure()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as port:
        port.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, orders.interface.encode() + b"\0")
        port.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        port.bind(("", PORT))
        _tell(READY)
        while True:
            data, _ = port.recvfrom(dhcp_message.MOST_BYTES + 1)
            answer = answer_to(data, orders.lease)
            if answer is None or not measure.has_room(time.monotonic()):
                continue
            try:
                port.sendto(answer.data, (answer.to, CLIENT_PORT))
            except OSError:
                continue  # its link is down: it asks again
            if WORDS[answer.kind] != told:
                told = WORDS[answer.kind]
                _tell(told)


def _tell(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def main() -> None:
    """Read the orders and serve."""
    serve(Orders.read("".join(sys.argv[1:])))
