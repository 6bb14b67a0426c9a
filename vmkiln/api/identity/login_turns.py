"""Logins take their turn: hashing a secret is meant to be costly, and nobody has shown yet who they are.

They have threads of their own, so that those who have logged in are answered however many try; a few may wait, of all
and of each address, and more are told to come again before anything is hashed.
"""

import ipaddress
from collections import Counter
from collections.abc import Callable
from typing import TypeVar

from vmkiln.errors import ArmError
from vmkiln.waiting.off_loop import in_login

MOST_WAITING = 64  # with those that are answered
MOST_WAITING_OF_AN_ADDRESS = 16
IPV6_NETWORK_BITS = 64  # what one customer of a provider has at least
R = TypeVar("R")


def network_of(address: str) -> str:
    """What counts as one address: an IPv4 address, or the network of an IPv6 address; pure."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found, IPV6_NETWORK_BITS), strict=False))


def too_many_logins() -> ArmError:
    """The refusal of a login for which there is no turn now."""
    return ArmError(429, "TooManyRequests", "Too many logins wait", headers={"Retry-After": "1"})


class LoginTurns:
    """The logins of one process that go on or wait; used on the event loop only."""

    def __init__(self) -> None:
        self._of_address: Counter[str] = Counter()

    async def answered(self, address: str, answer: Callable[[], R]) -> R | None:
        """What the blocking `answer` gives, worked out in a thread for logins; None when too many wait."""
        place = network_of(address)
        if self._of_address.total() >= MOST_WAITING or self._of_address[place] >= MOST_WAITING_OF_AN_ADDRESS:
            return None
        self._of_address[place] += 1
        try:
            return await in_login(answer)
        finally:
            self._of_address[place] -= 1
            if not self._of_address[place]:
                del self._of_address[place]
