"""The name in a TLS client's first message: of a real client, in any pieces, and of one that wants to be misread."""

import random
import ssl
import struct

import pytest

from vmkiln.host.egress.client_hello import MOST_HELLO_BYTES, NotNamed, server_name

NAME = "packages.example.org"


def real_hello(name: str | None = NAME) -> bytes:
    """What OpenSSL says first."""
    context = ssl.create_default_context()
    context.check_hostname = False
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def extension(kind: int, body: bytes) -> bytes:
    return struct.pack("!HH", kind, len(body)) + body


def name_extension(*names: str) -> bytes:
    entries = b"".join(struct.pack("!BH", 0, len(name)) + name.encode() for name in names)
    return extension(0, struct.pack("!H", len(entries)) + entries)


def hello(extensions: bytes, *, record_bytes: int = 2**14, after: bytes = b"", session: bytes = b"") -> bytes:
    """A ClientHello made by hand, in records of at most so many bytes."""
    body = b"\3\3" + bytes(32) + bytes([len(session)]) + session + b"\0\2\x13\1" + b"\1\0"
    body += struct.pack("!H", len(extensions)) + extensions
    message = b"\1" + len(body).to_bytes(3) + body + after
    pieces = [message[at : at + record_bytes] for at in range(0, len(message), record_bytes)]
    return b"".join(b"\x16\3\1" + struct.pack("!H", len(piece)) + piece for piece in pieces)


def test_a_real_client_is_named() -> None:
    assert server_name(real_hello()) == NAME
    assert server_name(hello(name_extension(NAME.upper()))) == NAME


def test_a_first_message_in_pieces_is_named_with_its_last_byte() -> None:
    data = real_hello()
    assert {server_name(data[:end]) for end in range(len(data))} == {None}


@pytest.mark.parametrize("record_bytes", [1, 2, 3, 5, 50])
def test_a_first_message_over_many_records_is_named(record_bytes: int) -> None:
    data = hello(name_extension(NAME), record_bytes=record_bytes)
    assert {server_name(data[:end]) for end in range(len(data))} == {None}
    assert server_name(data) == NAME


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (hello(b""), "no server"),
        (hello(name_extension()), "no server"),
        (hello(name_extension(NAME, "evil.example")), "more than one"),
        (hello(name_extension(NAME) + name_extension("evil.example")), "twice"),
        (hello(name_extension(NAME) + extension(0xFE0D, b"\0")), "ECH"),
        (hello(extension(0xFFCE, b"\0") + name_extension(NAME)), "ECH"),
        (hello(name_extension("203.0.113.10")), "no name of a host"),
        (hello(name_extension("packages.example.org\0.evil.example")), "no name of a host"),
        (hello(extension(0, b"\0\5\1\0\2ab")), "no name of a host"),
        (hello(extension(0, b"\0\0\0")), "more follows the name"),
        (hello(name_extension(NAME), after=b"\1\0\0\0"), "more follows its first message"),
        (hello(name_extension(NAME), session=bytes(33)), "does not read"),
        (b"\x16\3\1\0\0", "wrong length"),
        (b"\x16\3\1\xff\xff", "wrong length"),
        (b"\x16\2", "does not begin"),
        (b"\x15\3\1\0\1", "does not begin"),
        (b"\x16\3\1\0\4\2\0\0\0", "does not begin"),
        (b"\x16\3\1\0\4\1\xff\xff\xff", "more than"),
        (b"\x80\x2e\1\3\1", "does not begin"),
        (b"\x16\3\1\0\1\1" + b"\x16\3\1\0\1\0" * (MOST_HELLO_BYTES // 6), "cut short"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_names_no_server_for_certain_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(NotNamed, match=why):
        server_name(data)


def test_a_first_message_without_extensions_names_nobody() -> None:
    body = b"\3\3" + bytes(32) + b"\0" + b"\0\2\0\x2f" + b"\1\0"
    with pytest.raises(NotNamed, match="no server"):
        server_name(b"\x16\3\1" + struct.pack("!H", len(body) + 4) + b"\1" + len(body).to_bytes(3) + body)


def test_a_first_message_that_never_ends_is_refused_at_its_limit() -> None:
    dribble = b"\x16\3\1\0\1\1" + b"\x16\3\1\0\1\0" + b"\x16\3\1\0\1\x3f" + b"\x16\3\1\0\1\0"
    dribble += b"\x16\3\1\0\1\0" * (MOST_HELLO_BYTES // 6)
    with pytest.raises(NotNamed, match="more than"):
        server_name(dribble[: MOST_HELLO_BYTES + 1])


def test_changed_bytes_give_a_name_or_the_one_error() -> None:
    """Whatever is cut, changed, doubled or put in: never another exception, and never a name that is none."""
    chance = random.Random(1)  # noqa: S311 (no secret)
    seeds = [
        real_hello(),
        hello(name_extension(NAME), record_bytes=7),
        hello(name_extension("a.b") + extension(9, b"x")),
    ]
    ends: dict[str, int] = {"name": 0, "more": 0, "refused": 0}
    for _ in range(30_000):
        data = bytearray(chance.choice(seeds))
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(data))
            match chance.randrange(4):
                case 0:
                    data[at] = chance.randrange(256)
                case 1:
                    del data[at : at + chance.randrange(1, 9)]
                case 2:
                    data[at:at] = data[max(0, at - 8) : at]
                case 3:
                    del data[at:]
            if not data:
                break
        try:
            found = server_name(bytes(data))
        except NotNamed:
            ends["refused"] += 1
        else:
            ends["more" if found is None else "name"] += 1
            assert found is None or "." in found
    assert min(ends.values()) > 100
