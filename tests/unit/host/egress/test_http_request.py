"""The host that an HTTP request names, and what two readers could read differently."""

import random

import pytest

from vmkiln.host.egress.http_request import MOST_HEAD_BYTES, NotHttp, Request, read_request

GET = b"GET /x HTTP/1.1\r\nHost: a.example\r\n\r\n"


def a_request(*lines: str, first: str = "GET / HTTP/1.1") -> bytes:
    return "\r\n".join([first, *lines, "", ""]).encode("latin-1")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (GET, Request("a.example", 0, len(GET), 0)),
        (a_request("Accept: */*", "hOST:  A.Example:8080 "), ("a.example", 8080, 0)),
        (a_request("Host: a.example.", "Content-Length: 12", first="POST /y?z HTTP/1.0"), ("a.example", 0, 12)),
        (a_request("Host: a.example", first="GET http://A.example/x HTTP/1.1"), ("a.example", 0, 0)),
        (a_request("Host: a.example", first="OPTIONS * HTTP/1.1"), ("a.example", 0, 0)),
    ],
)
def test_a_request_is_read(data: bytes, expected: Request | tuple[str, int, int]) -> None:
    found = read_request(data + b"more")
    assert found is not None
    assert expected in (found, (found.name, found.port, found.body_bytes))
    assert found.head_bytes == len(data)


def test_a_request_in_pieces_is_read_with_its_last_byte() -> None:
    assert {read_request(GET[:end]) for end in range(1, len(GET))} == {None}


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (a_request(), "no host"),
        (a_request("Host: a.example", "Host: b.example"), "more than one host"),
        (a_request("Host: a.example", "host: a.example"), "more than one host"),
        (a_request("Host: 203.0.113.10"), "no name of a host"),
        (a_request("Host: me@a.example"), "no name of a host"),
        (a_request("Host: a.example, b.example"), "no name of a host"),
        (a_request("Host: a.example", first="GET http://b.example/ HTTP/1.1"), "differ"),
        (a_request("Host: a.example", first="GET http://a.example@b.example/ HTTP/1.1"), "differ"),
        (a_request("Host: a.example", first="GET ftp://a.example/ HTTP/1.1"), "differ"),
        (a_request("Host: a.example:443", first="CONNECT a.example:443 HTTP/1.1"), "tunnel"),
        (a_request("Host: a.example", "Upgrade: websocket"), "tunnel"),
        (a_request("Host: a.example", "Transfer-Encoding: chunked"), "unsaid length"),
        (a_request("Host: a.example", "Content-Length: 1", "Content-Length: 2"), "not certain"),
        (a_request("Host: a.example", "Content-Length: +1"), "not certain"),
        (a_request("Host: a.example", "Content-Length: 1, 1"), "not certain"),
        (a_request("Host: a.example", "Content-Length : 5"), "does not read as HTTP"),
        (a_request("Host: a.example", " folded: x"), "does not read as HTTP"),
        (a_request("Host: a.example\nHost: b.example"), "does not read as HTTP"),
        (a_request("Host: a.example\rHost: b.example"), "does not read as HTTP"),
        (a_request("X: \0", "Host: a.example"), "does not read as HTTP"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "does not read as HTTP"),
        (b"GET / HTTP/1.1 x\r\nHost: a.example\r\n\r\n", "does not read as HTTP"),
        (b"GET  / HTTP/1.1\r\nHost: a.example\r\n\r\n", "does not read as HTTP"),
        (b"SSH-2.0-client\r\n", "neither TLS nor HTTP"),
        (b"\0\0\0", "neither TLS nor HTTP"),
        (b"get / ", "neither TLS nor HTTP"),
        (b"GET /" + b"x" * MOST_HEAD_BYTES, "more than"),
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(NotHttp, match=why):
        read_request(data)


def test_changed_bytes_give_a_request_or_the_one_error() -> None:
    chance = random.Random(2)  # noqa: S311 (no secret)
    seeds = [GET, a_request("Host: a.example", "Content-Length: 12"), a_request("A: b", "Host: c.example:80", "D: e")]
    ends = {"read": 0, "more": 0, "refused": 0}
    for _ in range(30_000):
        data = bytearray(chance.choice(seeds))
        for _ in range(chance.randint(1, 3)):
            at = chance.randrange(len(data) + 1)
            data[at : at + chance.randrange(3)] = chance.choice([b"\r\n", b"\n", b" ", b":", b"Host: b.example", b"\0"])
        try:
            found = read_request(bytes(data))
        except NotHttp:
            ends["refused"] += 1
        else:
            ends["more" if found is None else "read"] += 1
            assert found is None or found.head_bytes <= len(data)
    assert min(ends.values()) > 100
