"""What the kernel says of connections, read from its netlink messages; pure, standard library only.

Sources: the kernel's include/uapi/linux/netfilter/nfnetlink_conntrack.h and nfnetlink.h, netlink(7).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address

SUBSYSTEM = 1 << 8  # NFNL_SUBSYS_CTNETLINK, in the upper byte of a message's type
NEW, GET, DELETE = SUBSYSTEM, SUBSYSTEM | 1, SUBSYSTEM | 2
ERROR, DONE = 2, 3
REQUEST, DUMP = 1, 0x300
AF_INET = 2
PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp"}
_HEADER, _FAMILY = 16, 4
_NESTED = 0x7FFF  # the two upper bits of an attribute's type are flags
(_ORIGINAL, _REPLY, _STATUS, _COUNTERS_OUT, _COUNTERS_IN, _ID, _TIMESTAMP) = (1, 2, 3, 9, 10, 12, 20)
_SEEN_REPLY = 2


@dataclass(frozen=True)
class Connection:
    """One connection as the kernel remembers it: who opened it to whom, and what went each way. Times are in seconds
    since 1970; `end` is 0 while it is remembered. `port` is the one it was opened to; 0 for protocols without ports.
    """

    id: int
    source: str
    destination: str
    protocol: str
    source_port: int
    port: int
    begin: float
    end: float
    packets_out: int
    bytes_out: int
    packets_in: int
    bytes_in: int
    was_answered: bool


def asking_for_all() -> bytes:
    """The request for every connection that is remembered."""
    body = struct.pack("!BBH", AF_INET, 0, 0)
    return struct.pack("=IHHII", _HEADER + len(body), GET, REQUEST | DUMP, 1, 0) + body


def connections_in(data: bytes) -> Iterator[tuple[int, Connection | None]]:
    """The messages of one read: each with its type, and its connection if it tells one. Ends where they are cut off."""
    at = 0
    while at + _HEADER <= len(data):
        length, kind = struct.unpack_from("=IH", data, at)
        if length < _HEADER or at + length > len(data):
            return
        body = data[at + _HEADER + _FAMILY : at + length]
        yield kind, _connection(body) if kind in {NEW, DELETE} else None
        at += (length + 3) & ~3


def _connection(body: bytes) -> Connection | None:
    """None for what has no addresses of IPv4."""
    found = _attributes(body)
    original = _attributes(found.get(_ORIGINAL, b""))
    addresses, protocol = _attributes(original.get(1, b"")), _attributes(original.get(2, b""))
    source, destination = addresses.get(1, b""), addresses.get(2, b"")
    if len(source) != 4 or len(destination) != 4:
        return None
    times = _attributes(found.get(_TIMESTAMP, b""))
    out, into = _attributes(found.get(_COUNTERS_OUT, b"")), _attributes(found.get(_COUNTERS_IN, b""))
    number = _number(protocol.get(1, b""))
    return Connection(
        id=_number(found.get(_ID, b"")),
        source=str(IPv4Address(source)),
        destination=str(IPv4Address(destination)),
        protocol=PROTOCOLS.get(number, f"protocol {number}"),
        source_port=_number(protocol.get(2, b"")),
        port=_number(protocol.get(3, b"")),
        begin=_number(times.get(1, b"")) / 1e9,
        end=_number(times.get(2, b"")) / 1e9,
        packets_out=_number(out.get(1, b"")),
        bytes_out=_number(out.get(2, b"")),
        packets_in=_number(into.get(1, b"")),
        bytes_in=_number(into.get(2, b"")),
        was_answered=bool(_number(found.get(_STATUS, b"")) & _SEEN_REPLY),
    )


def _attributes(data: bytes) -> dict[int, bytes]:
    found = {}
    at = 0
    while at + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, at)
        if length < 4 or at + length > len(data):
            break
        found[kind & _NESTED] = data[at + 4 : at + length]
        at += (length + 3) & ~3
    return found


def _number(data: bytes) -> int:
    return int.from_bytes(data)
