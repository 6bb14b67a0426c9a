"""The host that a plain HTTP request names, and how far the request goes, from bytes that a hostile guest made; pure.

A connection may carry many requests, and each may name another host; so each is read, and what two readers could
read differently is refused: two hosts, two lengths, folded lines, bare line ends, a body of unsaid length, an upgrade
to what is no HTTP. This module needs the standard library alone.
Source: RFC 9112 2.2, 3.2, 5, 6 (messages, targets, fields, bodies) and 11.2 (smuggling).
"""

import re
from dataclasses import dataclass

from vmkiln.host.egress.egress_policy import plain_name

MOST_HEAD_BYTES = 16 * 1024
MOST_BODY_BYTES = 2**40
_REQUEST_LINE = re.compile(rb"([A-Z]{1,20}) ([\x21-\x7e]+) HTTP/1\.[01]")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\x20-\x7e\x80-\xff\t]*?)[ \t]*")
_AUTHORITY = re.compile(r"([^:@/]+)(?::([0-9]{1,5}))?")


class NotHttp(Exception):
    """A request that cannot be read for certain, or asks for what is no HTTP; says why in a few words."""


@dataclass(frozen=True)
class Request:
    """A request's head: its host's plain name, its port (0: not said), how many bytes the head and the body have."""

    name: str
    port: int
    head_bytes: int
    body_bytes: int


def read_request(data: bytes) -> Request | None:
    """The request that begins the bytes; None while its head is not whole.

    Raises: `NotHttp` as soon as no more bytes could help.
    """
    if data and not data[:1].isalpha():
        raise NotHttp("it speaks neither TLS nor HTTP")
    head, end, _ = data.partition(b"\r\n\r\n")
    if not end or len(head) > MOST_HEAD_BYTES:
        if len(data) > MOST_HEAD_BYTES:
            raise NotHttp(f"the head of its request has more than {MOST_HEAD_BYTES} bytes")
        if not re.match(rb"[A-Z]{1,20}( |\Z)", data):
            raise NotHttp("it speaks neither TLS nor HTTP")
        return None
    first, *lines = head.split(b"\r\n")
    line = _REQUEST_LINE.fullmatch(first)
    if line is None:
        raise NotHttp("its request does not read as HTTP")
    method, target = line[1], line[2]
    fields = _fields(lines)
    if method == b"CONNECT" or "upgrade" in fields:
        raise NotHttp("it asks for a tunnel")
    if "transfer-encoding" in fields:
        raise NotHttp("its request has a body of unsaid length")
    name, port = _host(target, fields.get("host", []))
    return Request(name, port, len(head) + len(end), _length(fields.get("content-length", [])))


def _fields(lines: list[bytes]) -> dict[str, list[str]]:
    """The values of each field, by its name in small letters."""
    found: dict[str, list[str]] = {}
    for line in lines:
        field = _FIELD.fullmatch(line)
        if field is None:
            raise NotHttp("a line of its request does not read as HTTP")
        found.setdefault(field[1].decode().lower(), []).append(field[2].decode("latin-1"))
    return found


def _host(target: bytes, hosts: list[str]) -> tuple[str, int]:
    if len(hosts) != 1:
        raise NotHttp("it names no host" if not hosts else "it names more than one host")
    authority = _AUTHORITY.fullmatch(hosts[0])
    name = plain_name(authority[1]) if authority else ""
    if authority is None or not name:
        raise NotHttp("what it names is no name of a host")
    port = int(authority[2] or 0)
    if not target.startswith((b"/", b"*")):
        whole = re.fullmatch(rb"http://([^/?#]*)(?:[/?][^#]*)?", target, re.IGNORECASE)
        if whole is None or whole[1].decode().lower() != hosts[0].lower():
            raise NotHttp("its target and its host differ")
    return name, port


def _length(values: list[str]) -> int:
    if not values:
        return 0
    if len(values) != 1 or not re.fullmatch(r"[0-9]{1,15}", values[0]) or int(values[0]) > MOST_BODY_BYTES:
        raise NotHttp("the length of its request's body is not certain")
    return int(values[0])
