"""Who gives the far guest its address, started; only in a run whose guest asks for one.

*Leaves behind:* nothing. *Undone by:* leaving the block. *Safe to repeat:* in a new namespace.
"""

import contextlib
from collections.abc import AsyncIterator, Callable

from vmkiln.host.addressing import dhcp_program
from vmkiln.host.addressing.dhcp_message import Lease
from vmkiln.host.addressing.dhcp_program import WORDS, Orders
from vmkiln.host.namespace import Namespace
from vmkiln.host.network.jailed_service import Service, Serving, serving
from vmkiln.host.network.network_namespace import Network

SERVICE = Service("address service", 2, dhcp_program)

Hear = Callable[[str], None]


def orders_of(network: Network) -> Orders:
    """What it is told in this network; pure."""
    far = network.far
    prefix = far.router.network.prefixlen
    lease = Lease(far.guest_mac, str(far.guest), prefix, str(far.router.ip), str(network.egress.dns))
    return Orders(far.bridge, lease)


@contextlib.asynccontextmanager
async def giving(namespace: Namespace, orders: Orders, hear: Hear) -> AsyncIterator[Serving]:
    """It, started; `hear` gets `offered`, `given` or `refused` when that changes. Raises: `HostUnfit`."""

    def on_line(line: str) -> None:
        if line in WORDS.values():  # anything else is of somebody who took it over
            hear(line)

    async with serving(namespace, SERVICE, orders.text(), on_line) as running:
        yield running
