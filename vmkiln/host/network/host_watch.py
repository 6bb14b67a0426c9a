"""The host's own addresses and networks, and those that it gets while a run is on: they are refused to its guests.

A build takes an hour, and meanwhile a container engine makes a bridge, a laptop joins another network, a VPN comes up.
What is refused once stays refused until the run ends.

*Leaves behind:* nothing. *Undone by:* leaving the block. *Safe to repeat:* yes.
"""

import asyncio
import contextlib
import errno
import json
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv4Network

from vmkiln.errors import HostUnfit, VmkilnError
from vmkiln.host import command
from vmkiln.host.namespace import Namespace
from vmkiln.host.network.network_namespace import Network, forbidden_networks

LOOK_SECONDS = 10  # between two looks when nothing is told
SETTLE_SECONDS = 0.05  # changes come in bursts
READ_SECONDS = 10
# links, addresses and routes of IPv4 (linux/rtnetlink.h)
GROUPS = 0x1 | 0x10 | 0x40
MOST_MESSAGE_BYTES = 65_536
MOST_OF_A_BURST = 1000  # messages that are thrown away before the host is looked at
WIDEST_LINK = 8  # a route without a gateway to more than a /8 is a way out (a tunnel), not a network of neighbours


async def host_addresses() -> tuple[IPv4Interface, ...]:
    """Every IPv4 address of this machine, with its link's prefix, and every network that it reaches without a gateway.

    Raises: `CommandFailed`, `HostUnfit`.
    """
    questions = (["address", "show"], ["route", "show", "table", "all"])
    asking = (
        command.run(["ip", "-json", "-4", *words], timeout_seconds=READ_SECONDS, ends_anyway=True)
        for words in questions
    )
    addresses, routes = await asyncio.gather(*asking)
    return (*parse_addresses(addresses.text), *parse_routes(routes.text))


def parse_addresses(text: str) -> tuple[IPv4Interface, ...]:
    """The addresses in the output of `ip -json address`; pure."""
    links = json.loads(text)
    return tuple(
        IPv4Interface(f"{entry['local']}/{entry['prefixlen']}")
        for link in links
        for entry in link.get("addr_info", ())
        if entry["family"] == "inet"
    )


def parse_routes(text: str) -> tuple[IPv4Interface, ...]:
    """The networks in the output of `ip -json route` that are reached without a gateway; pure."""
    found = []
    for route in json.loads(text or "[]"):
        if route.get("gateway") or route.get("via") or route.get("nexthops") or route["dst"] == "default":
            continue
        network = IPv4Network(route["dst"])
        if network.prefixlen >= WIDEST_LINK:
            found.append(IPv4Interface(f"{network.network_address}/{network.prefixlen}"))
    return tuple(found)


def not_yet_refused(known: Sequence[IPv4Network], now: Sequence[IPv4Interface]) -> tuple[IPv4Network, ...]:
    """What of the host's addresses and networks the known ranges do not cover; pure."""
    return tuple(network for network in forbidden_networks(now) if not any(network.subnet_of(wider) for wider in known))


@dataclass(frozen=True)
class Sight:
    """Where the kernel tells that the host changed, and the first look at what it has, begun after that."""

    changes: socket.socket
    first: "asyncio.Task[tuple[IPv4Interface, ...]]"


@contextlib.asynccontextmanager
async def looking() -> AsyncIterator[Sight]:
    """Begin to look, while something else is done; ended when the block is left. Raises: `HostUnfit`."""
    with _told_of_changes() as changes:
        first = asyncio.create_task(host_addresses())
        try:
            yield Sight(changes, first)
        finally:
            first.cancel()
            await asyncio.wait([first])


@contextlib.asynccontextmanager
async def watched(
    namespace: Namespace, network: Network, sight: Sight, lost: "asyncio.Future[str]"
) -> AsyncIterator[None]:
    """Refuse what the host gets while the block lasts; `lost` ends with a reason when that cannot be seen any more.

    What the first look found is refused before the block begins: between a run's decision and its network some time has
    passed. Raises: `CommandFailed`, `HostUnfit`.
    """
    known = await _refuse(namespace, network.forbidden, await sight.first)
    watching = asyncio.create_task(_go_on(namespace, sight.changes, known, lost))
    try:
        yield
    finally:
        watching.cancel()
        await asyncio.wait([watching])


async def _go_on(
    namespace: Namespace,
    changes: socket.socket,
    known: tuple[IPv4Network, ...],
    lost: "asyncio.Future[str]",
) -> None:
    try:
        while True:
            await _told(changes)
            known = await _refuse(namespace, known, await host_addresses())
    except (VmkilnError, OSError, ValueError, KeyError) as error:
        reason = f"the host's addresses cannot be watched: {error}"
    if not lost.done():
        lost.set_result(reason)


def _told_of_changes() -> socket.socket:
    """A socket of the kernel's that tells of links, addresses and routes of this network. Raises: `HostUnfit`."""
    try:
        with contextlib.ExitStack() as stack:
            kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK
            changes = stack.enter_context(socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE))
            changes.bind((0, GROUPS))
            stack.pop_all()
            return changes
    except OSError as error:
        raise HostUnfit(f"the kernel does not tell of changes at this host's network: {error}") from error


async def _told(changes: socket.socket) -> None:
    """Wait until something changed, or some time has passed. Raises: `OSError` when nothing is told any more."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LOOK_SECONDS):
            await _message(changes)
        await asyncio.sleep(SETTLE_SECONDS)
    with contextlib.suppress(BlockingIOError):  # the rest of the burst; whatever comes behind it is one more change
        for _ in range(MOST_OF_A_BURST):
            with _more_than_fits():
                changes.recv(MOST_MESSAGE_BYTES)


async def _message(changes: socket.socket) -> None:
    with _more_than_fits():
        await asyncio.get_running_loop().sock_recv(changes, MOST_MESSAGE_BYTES)


@contextlib.contextmanager
def _more_than_fits() -> Iterator[None]:
    """More was told than the socket has room for, so something changed all the same."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOBUFS:
            raise


async def _refuse(
    namespace: Namespace, known: tuple[IPv4Network, ...], now: Sequence[IPv4Interface]
) -> tuple[IPv4Network, ...]:
    """Refuse what is new; returns what is refused then."""
    new = not_yet_refused(known, now)
    if new:
        elements = ", ".join(str(network) for network in new)
        await namespace.run(["nft", "add", "element", "inet", "vmkiln", "forbidden", f"{{ {elements} }}"])
    return (*known, *new)
