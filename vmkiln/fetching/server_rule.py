"""Which servers may be asked for what somebody named: decided by who named it; pure.

A caller of the service gets what anybody on the Internet could get, and besides that what the operator allows
(`private_servers`). Who runs a command on this machine may ask what that user may ask, but no cloud's metadata, and a
redirect does not lead into private networks. What the operator wrote (catalogues, settings) is not checked.
Source of the ports: WHATWG Fetch, "port blocking": they belong to other protocols, which a request could be taken for.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum, auto
from ipaddress import ip_address, ip_network

from vmkiln.errors import InputError
from vmkiln.host.network.special_addresses import Address, AnyNetwork, is_metadata, is_of_the_internet, plain

MOST_SERVERS = 100
LAST_PORT = 65535
HINT = "such as scripts.example.com, *.corp.example:8443, 10.1.0.0/16, 10.1.2.3:8080 or [fd00::5]:8080, with commas"
BLOCKED_PORTS = frozenset(
    {0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104, 109}
    | {110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514, 515, 526, 530}
    | {531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 4190}
    | {5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080}
)
_NAME = re.compile(r"(\*\.)?[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*", re.IGNORECASE)
_ENTRY = re.compile(r"(?:\[(?P<six>[0-9a-fA-F:.]+)\]|(?P<host>[^\[\]]*?))(?::(?P<port>[0-9]{1,5}))?")


class NamedBy(StrEnum):
    """Who named what is to be fetched."""

    CALLER = auto()
    USER = auto()
    OPERATOR = auto()


@dataclass(frozen=True)
class PrivateServer:
    """A server that an operator allows: a name (`*.` before it for all below), or a network; port 0 is any."""

    name: str = ""
    network: AnyNetwork | None = None
    port: int = 0


@dataclass(frozen=True)
class ServerRule:
    """Which servers may be asked for what was named by whom."""

    named_by: NamedBy = NamedBy.CALLER
    private_servers: tuple[PrivateServer, ...] = ()


FOR_CALLERS = ServerRule()
FOR_THE_OPERATOR = ServerRule(NamedBy.OPERATOR)


def read_servers(text: str) -> tuple[PrivateServer, ...]:
    """The servers of the setting `private_servers`. Raises: `InputError` naming every mistake."""
    words = [word for word in re.split(r"[,\s]+", text) if word]
    servers = [(word, _server(word)) for word in words]
    if wrong := ", ".join(f"`{word[:80]}`" for word, server in servers if server is None):
        raise InputError(f"private_servers: {wrong}: no server, network or port of one", hint=HINT)
    if len(servers) > MOST_SERVERS:
        raise InputError(f"private_servers has {len(servers)} entries; at most {MOST_SERVERS} are taken")
    return tuple(server for _, server in servers if server is not None)


def _server(word: str) -> PrivateServer | None:
    """One entry; none for what is none."""
    try:
        return PrivateServer(network=ip_network(word, strict=False))
    except ValueError:
        pass
    entry = _ENTRY.fullmatch(word)
    if entry is None or not (host := entry["six"] or entry["host"]):
        return None
    port = int(entry["port"] or 0)
    if port > LAST_PORT or (entry["port"] and port == 0):
        return None
    try:
        return PrivateServer(network=ip_network(host, strict=False), port=port)
    except ValueError:
        is_name = _NAME.fullmatch(host) and not re.fullmatch(r"[0-9.]+", host)
        return PrivateServer(name=host.lower(), port=port) if is_name else None


def allowed_addresses(
    rule: ServerRule,
    host: str,
    port: int,
    addresses: Iterable[Address],
    *,
    own: Iterable[AnyNetwork],
    is_named: bool,
) -> Iterator[Address]:
    """Those of a server's addresses that may be asked. `own` are this machine's addresses and links.

    `is_named` says that this server was named, and that no redirect led to it.
    """
    networks = tuple(own)
    for address in addresses:
        is_free = is_of_the_internet(address) and not any(_is_in(address, network) for network in networks)
        is_trusted = rule.named_by is NamedBy.OPERATOR or is_listed(rule, host, port, address)
        is_open = port not in BLOCKED_PORTS and (is_free or _is_of_the_user(rule, address, is_named=is_named))
        if is_trusted or is_open:
            yield address


def _is_of_the_user(rule: ServerRule, address: Address, *, is_named: bool) -> bool:
    return rule.named_by is NamedBy.USER and is_named and not is_metadata(address)


def is_listed(rule: ServerRule, host: str, port: int, address: Address) -> bool:
    """Whether the operator allows it. A name never stands for metadata, which only a network of its own does."""
    for server in rule.private_servers:
        if server.port not in {0, port}:
            continue
        if server.network is not None and _is_in(address, server.network):
            is_meant = not is_metadata(address) or server.network.prefixlen >= 16  # not by an all-embracing range
            if is_meant:
                return True
        elif server.name and is_name_of(server.name, host) and not is_metadata(address):
            return True
    return False


def is_listed_name(rule: ServerRule, host: str, port: int) -> bool:
    """Whether the operator allows a server by its name."""
    return any(
        server.name and server.port in {0, port} and is_name_of(server.name, host) for server in rule.private_servers
    )


def is_name_of(pattern: str, host: str) -> bool:
    """Whether a host's name is the one of an entry, or below it where it begins with `*.`."""
    name = host.lower().removesuffix(".")
    return name.endswith(pattern[1:]) if pattern.startswith("*.") else name == pattern


def _is_in(address: Address, network: AnyNetwork) -> bool:
    return any(one.version == network.version and one in network for one in (address, plain(address)))


def literal_of(host: str) -> Address | None:
    """The address that a host is written as, in the plain way; none for a name and for odd spellings."""
    try:
        return ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return None
