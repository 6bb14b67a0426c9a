"""The server's name in the first message of a TLS client, from bytes that a hostile guest made; pure.

The message may come in any number of pieces, records and cuts. What cannot be named for certain is refused: no name,
two names, an encrypted ClientHello (whose outer name says nothing), or what does not read as the grammar says. This
module needs the standard library alone.
Sources: RFC 8446 4.1.2, 4.2 and 5.1 (ClientHello, extensions, records); RFC 6066 3 (server_name); RFC 9849 (encrypted
ClientHello).
"""

from collections.abc import Iterator

from vmkiln.host.egress.egress_policy import plain_name

MOST_HELLO_BYTES = 16 * 1024  # browsers send about 2 KiB
MOST_RECORD_BYTES = 2**14  # RFC 8446 5.1
HANDSHAKE, CLIENT_HELLO = 22, 1
SERVER_NAME, HOST_NAME = 0, 0
# the encrypted ClientHello, its drafts, and the encrypted name that it replaced
ENCRYPTED = frozenset({0xFE0D, 0xFE0C, 0xFE0B, 0xFE0A, 0xFE09, 0xFE08, 0xFFCE})


class NotNamed(Exception):
    """A first message that names no server for certain; says why in a few words."""


def server_name(data: bytes) -> str | None:
    """The name, in small letters; None while more bytes are needed.

    Raises: `NotNamed` as soon as no more bytes could help.
    """
    message = _message(data)
    if message is None:
        if len(data) >= MOST_HELLO_BYTES:
            raise NotNamed(f"its first message has more than {MOST_HELLO_BYTES} bytes")
        return None
    names: list[str] = []
    kinds: set[int] = set()
    for kind, body in _extensions(message):
        if kind in kinds:
            raise NotNamed("an extension stands twice in its first message")
        kinds.add(kind)
        if kind in ENCRYPTED:
            raise NotNamed("its name is encrypted (ECH)")
        if kind == SERVER_NAME:
            names += _host_names(body)
    if len(names) != 1:
        raise NotNamed("it names no server (SNI)" if not names else "it names more than one server")
    return names[0]


def _message(data: bytes) -> bytes | None:
    """The body of the ClientHello, joined from its records; None while it is not whole."""
    joined = b""
    at = 0
    while at < len(data):
        head = data[at : at + 5]
        if head[0] != HANDSHAKE or (len(head) > 1 and head[1] != 3):
            raise NotNamed("it does not begin with a ClientHello")
        if len(head) < 5:
            return None
        size = int.from_bytes(head[3:5])
        if not 0 < size <= MOST_RECORD_BYTES:
            raise NotNamed("a record of its first message has a wrong length")
        joined += data[at + 5 : at + 5 + size]
        at += 5 + size
        if joined and joined[0] != CLIENT_HELLO:
            raise NotNamed("it does not begin with a ClientHello")
        if len(joined) >= 4:
            whole = 4 + int.from_bytes(joined[1:4])
            if whole > MOST_HELLO_BYTES:
                raise NotNamed(f"its first message has more than {MOST_HELLO_BYTES} bytes")
            if len(joined) > whole or (len(joined) == whole and at > len(data)):
                raise NotNamed("more follows its first message than may")
            if len(joined) == whole:
                return joined[4:]
    return None


class _Bytes:
    """Bytes that are taken from the front; what is not there is a mistake of who sent them."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, count: int) -> bytes:
        found = self._data[self._at : self._at + count]
        if len(found) != count:
            raise NotNamed("its first message is cut short")
        self._at += count
        return found

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size))

    def vector(self, size: int) -> bytes:
        """What a length of so many bytes stands before."""
        return self.take(self.number(size))

    @property
    def is_empty(self) -> bool:
        return self._at == len(self._data)


def _extensions(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Each extension of a ClientHello, by its number."""
    rest = _Bytes(message)
    rest.take(2 + 32)  # version, random
    session, suites, methods = rest.vector(1), rest.vector(2), rest.vector(1)
    if len(session) > 32 or len(suites) < 2 or len(suites) % 2 or not methods:
        raise NotNamed("its first message does not read as a ClientHello")
    if rest.is_empty:
        return
    extensions = _Bytes(rest.vector(2))
    if not rest.is_empty:
        raise NotNamed("more follows the extensions of its first message")
    while not extensions.is_empty:
        yield extensions.number(2), extensions.vector(2)


def _host_names(body: bytes) -> Iterator[str]:
    outer = _Bytes(body)
    entries = _Bytes(outer.vector(2))
    if not outer.is_empty:
        raise NotNamed("more follows the name in its first message")
    while not entries.is_empty:
        kind, raw = entries.number(1), entries.vector(2)
        text = raw.decode("ascii", errors="replace")
        if kind != HOST_NAME or not (name := plain_name(text)):
            raise NotNamed("what it names is no name of a host")
        yield name
