"""Frames put together byte by byte, for what no well-behaved guest would send."""

import struct
from ipaddress import IPv4Address, IPv6Address

BROADCAST = "ff:ff:ff:ff:ff:ff"


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def checksum(data: bytes) -> int:
    """RFC 1071."""
    padded = data + b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ethernet(target: str, source: str, payload: bytes, *, kind: int = 0x0800) -> str:
    """A frame, in hexadecimal."""
    return (_mac(target) + _mac(source) + struct.pack("!H", kind) + payload).hex()


def ipv4(source: str, target: str, protocol: int, payload: bytes, *, options: bytes = b"") -> bytes:
    """A packet; `options` is a multiple of four bytes."""
    ends = IPv4Address(source).packed + IPv4Address(target).packed
    words = 5 + len(options) // 4
    head = struct.pack("!BBHHHBB", 0x40 | words, 0, words * 4 + len(payload), 1, 0, 64, protocol)
    return head + struct.pack("!H", checksum(head + b"\0\0" + ends + options)) + ends + options + payload


def udp(source: str, target: str, *, ports: tuple[int, int], data: bytes = b"stray") -> bytes:
    """A datagram from a port to a port."""
    return ipv4(source, target, 17, struct.pack("!HHHH", *ports, 8 + len(data), 0) + data)


def tcp(source: str, target: str, *, ports: tuple[int, int], flags: int) -> bytes:
    """A segment without data; flags: 1 FIN, 2 SYN, 4 RST, 16 ACK."""
    head = struct.pack("!HHIIBBHHH", *ports, 1000, 1000 if flags & 16 else 0, 0x50, flags, 1024, 0, 0)
    pseudo = IPv4Address(source).packed + IPv4Address(target).packed + struct.pack("!HH", 6, len(head))
    head = head[:16] + struct.pack("!H", checksum(pseudo + head)) + head[18:]
    return ipv4(source, target, 6, head)


def icmp(source: str, target: str, *, kind: int, code: int = 0, rest: bytes = b"\0\0\0\1stray") -> bytes:
    """A control message."""
    body = struct.pack("!BBH", kind, code, checksum(struct.pack("!BBH", kind, code, 0) + rest)) + rest
    return ipv4(source, target, 1, body)


def icmpv6(source: str, target: str, *, kind: int, rest: bytes) -> bytes:
    """An IPv6 control message, with the hop limit neighbour discovery asks for."""
    ends = IPv6Address(source).packed + IPv6Address(target).packed
    pseudo = ends + struct.pack("!IHBB", 4 + len(rest), 0, 0, 58) + struct.pack("!BBH", kind, 0, 0) + rest
    body = struct.pack("!BBH", kind, 0, checksum(pseudo)) + rest
    return struct.pack("!IHBB", 0x60000000, len(body), 58, 255) + ends + body


def router_advertisement(source: str, *, prefix: str) -> bytes:
    """A router that offers itself and a prefix to everybody on the link (RFC 4861, 4.2)."""
    head = struct.pack("!BBHII", 64, 0, 1800, 0, 0)
    option = struct.pack("!BBBBIII", 3, 4, 64, 0xC0, 86400, 14400, 0) + IPv6Address(prefix).packed
    return icmpv6(source, "ff02::1", kind=134, rest=head + option)
