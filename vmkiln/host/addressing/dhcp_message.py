"""DHCP for exactly one guest: its request read, and the answer that gives it the one address it has; pure.

Source: RFC 2131 (messages, who answers what), RFC 2132 (options).
"""

import struct
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address, IPv4Network

HEADER = struct.Struct(">BBBBIHH4s4s4s4s16s192x4s")  # with the cookie
COOKIE = bytes((99, 130, 83, 99))
ETHERNET, ADDRESS_BYTES = 1, 6
REQUEST, REPLY = 1, 2
LEAST_BYTES = 300  # what clients of BOOTP take
MOST_BYTES = 1500
NOWHERE = IPv4Address(0)


class Kind(IntEnum):
    """The kinds of message."""

    DISCOVER = 1
    OFFER = 2
    REQUEST = 3
    DECLINE = 4
    ACK = 5
    NAK = 6
    RELEASE = 7
    INFORM = 8


class Option(IntEnum):
    """The options that are read or written."""

    PAD = 0
    MASK = 1
    ROUTER = 3
    NAME_SERVER = 6
    WANTED_ADDRESS = 50
    LEASE_SECONDS = 51
    KIND = 53
    SERVER = 54
    END = 255


@dataclass(frozen=True)
class Lease:
    """What the guest with this MAC (`02:00:...`) is given: addresses in dotted form, a prefix's length, a time."""

    mac: str
    address: str
    prefix: int
    router: str
    name_server: str
    seconds: int = 7 * 24 * 3600

    @property
    def server(self) -> str:
        """Who gives it: the router."""
        return self.router


@dataclass(frozen=True)
class Request:
    """A guest's message. `own` is the address that it has already, `wanted` the one that it asks for."""

    kind: Kind
    number: int
    flags: int
    mac: str
    own: IPv4Address
    wanted: IPv4Address
    server: IPv4Address


@dataclass(frozen=True)
class Answer:
    """What is sent, to whom: to an address that the guest has, or to everybody on its link."""

    kind: Kind
    data: bytes
    to: str


def read(data: bytes) -> Request | None:
    """The request in a datagram; none in what is no request of an Ethernet's."""
    if not HEADER.size <= len(data) <= MOST_BYTES:
        return None
    operation, hardware, length, _, number, _, flags, own, _, _, _, hardware_address, cookie = HEADER.unpack_from(data)
    if (operation, hardware, length, cookie) != (REQUEST, ETHERNET, ADDRESS_BYTES, COOKIE):
        return None
    options = _options(data[HEADER.size :])
    kind = options.get(Option.KIND, b"")
    if len(kind) != 1 or kind[0] not in {one.value for one in Kind}:
        return None
    return Request(
        kind=Kind(kind[0]),
        number=number,
        flags=flags,
        mac=hardware_address[:ADDRESS_BYTES].hex(":"),
        own=IPv4Address(own),
        wanted=_address(options.get(Option.WANTED_ADDRESS, b"")),
        server=_address(options.get(Option.SERVER, b"")),
    )


def answer(request: Request, lease: Lease) -> Answer | None:
    """What the guest is told; nothing to another guest, nor to one that talks to another server."""
    if request.mac != lease.mac or request.server not in {NOWHERE, IPv4Address(lease.server)}:
        return None
    given = IPv4Address(lease.address)
    match request.kind:
        case Kind.DISCOVER:
            return _answer(request, lease, Kind.OFFER)
        case Kind.REQUEST if given in {request.wanted, request.own}:
            return _answer(request, lease, Kind.ACK)
        case Kind.REQUEST:
            return _answer(request, lease, Kind.NAK)
        case Kind.INFORM if request.own == given:
            return _answer(request, lease, Kind.ACK)
        case _:
            return None


def _answer(request: Request, lease: Lease, kind: Kind) -> Answer:
    options = [(Option.KIND, bytes([kind])), (Option.SERVER, IPv4Address(lease.server).packed)]
    is_given, is_informed = kind is not Kind.NAK, request.kind is Kind.INFORM
    if is_given:
        mask = IPv4Network((0, lease.prefix)).netmask
        time = [] if is_informed else [(Option.LEASE_SECONDS, struct.pack(">I", lease.seconds))]
        options += [
            *time,
            (Option.MASK, mask.packed),
            (Option.ROUTER, IPv4Address(lease.router).packed),
            (Option.NAME_SERVER, IPv4Address(lease.name_server).packed),
        ]
    yours = IPv4Address(lease.address) if is_given and not is_informed else NOWHERE
    own = request.own if is_given else NOWHERE
    header = HEADER.pack(
        REPLY, ETHERNET, ADDRESS_BYTES, 0, request.number, 0, request.flags, own.packed, yours.packed,
        NOWHERE.packed, NOWHERE.packed, bytes.fromhex(lease.mac.replace(":", "")), COOKIE,
    )  # fmt: skip
    written = b"".join(bytes([code, len(value)]) + value for code, value in options) + bytes([Option.END])
    has_address = is_given and request.own == IPv4Address(lease.address)  # or it chose where our packets go
    return Answer(
        kind, (header + written).ljust(LEAST_BYTES, b"\0"), lease.address if has_address else "255.255.255.255"
    )


def _options(data: bytes) -> dict[int, bytes]:
    """The options up to their end; those that are cut short are left out."""
    found: dict[int, bytes] = {}
    at = 0
    while at + 1 < len(data) and data[at] != Option.END:
        if data[at] == Option.PAD:
            at += 1
            continue
        value = data[at + 2 : at + 2 + data[at + 1]]
        if len(value) == data[at + 1]:
            found.setdefault(data[at], value)
        at += 2 + data[at + 1]
    return found


def _address(value: bytes) -> IPv4Address:
    return IPv4Address(value) if len(value) == len(NOWHERE.packed) else NOWHERE
