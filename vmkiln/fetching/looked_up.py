"""A server's addresses as this machine's resolver gives them, and the machine's own addresses and links.

Blocks: it is called in a thread. The own addresses are read each time, for they come and go while a service lives.
Sources: proc_net(5): `/proc/net/fib_trie`, `route` and `ipv6_route`; getaddrinfo(3), which takes every odd spelling
of an IPv4 address, so that what it gives is what is checked.
"""

import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path

from vmkiln.host.network.special_addresses import Address, AnyNetwork

LOCAL = Path("/proc/net/fib_trie")
ROUTES, ROUTES_IPV6 = Path("/proc/net/route"), Path("/proc/net/ipv6_route")
WIDEST_LINK = {4: 8, 6: 16}  # a route that is wider is a way out (such as a tunnel's), and no link


@dataclass(frozen=True)
class LookedUp:
    """The addresses of a name, in the resolver's order, and this machine's own addresses and links."""

    addresses: tuple[Address, ...]
    own: tuple[AnyNetwork, ...] = ()
    is_literal: bool = False


def looked_up(host: str, port: int) -> LookedUp:
    """What a host's name means here and now. Raises: `socket.gaierror`, `OSError`, `UnicodeError`."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    texts = dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found)
    addresses = tuple(ip_address(text) for text in texts)
    return LookedUp(addresses, own_networks(), _is_literal(host))


def _is_literal(host: str) -> bool:
    with contextlib.suppress(OSError, UnicodeError):
        return bool(socket.getaddrinfo(host, None, flags=socket.AI_NUMERICHOST))
    return False


def own_networks() -> tuple[AnyNetwork, ...]:
    """This machine's own addresses, and the networks that it reaches without a gateway. Raises: `OSError`."""
    found: list[AnyNetwork] = [*local_addresses(LOCAL.read_text()), *ipv4_links(ROUTES.read_text())]
    with contextlib.suppress(FileNotFoundError):  # a kernel without IPv6
        found += ipv6_links(ROUTES_IPV6.read_text())
    return tuple(found)


def local_addresses(text: str) -> Iterator[IPv4Network]:
    """What the kernel takes for its own, in the text of `/proc/net/fib_trie`; pure."""
    address = ""
    for line in text.splitlines():
        word = line.strip()
        if word.startswith("|-- "):
            address = word[4:]
        elif word.endswith(" host LOCAL"):
            yield IPv4Network(f"{address}{word.split()[0]}")


def ipv4_links(text: str) -> Iterator[IPv4Network]:
    """The networks without a gateway in the text of `/proc/net/route`; pure."""
    for line in text.splitlines()[1:]:
        _, destination, gateway, _, _, _, _, mask = line.split()[:8]
        length = int(mask, 16).bit_count()
        if int(gateway, 16) == 0 and length >= WIDEST_LINK[4]:
            yield IPv4Network((int.from_bytes(bytes.fromhex(destination), "little"), length))


def ipv6_links(text: str) -> Iterator[IPv6Network]:
    """The networks without a gateway, own addresses among them, in the text of `/proc/net/ipv6_route`; pure."""
    for line in text.splitlines():
        destination, length, _, _, gateway = line.split()[:5]
        if int(gateway, 16) == 0 and int(length, 16) >= WIDEST_LINK[6]:
            yield IPv6Network((int(destination, 16), int(length, 16)))
