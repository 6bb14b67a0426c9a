"""DHCP for one guest: what is answered, and what is not; bytes without measure are no request."""

import random
import struct
from ipaddress import IPv4Address

import pytest

from vmkiln.host.addressing.dhcp_message import COOKIE, HEADER, Kind, Lease, Option, answer, read

LEASE = Lease("02:00:0a:00:01:04", "10.0.1.4", 24, "10.0.1.1", "10.0.2.53", seconds=3600)
ZERO = bytes(4)


def packed(kind: Kind, *, mac: str = LEASE.mac, own: str = "0.0.0.0", **options: str) -> bytes:
    """A guest's message as clients write it: a kind, options with an address, and options that nobody reads."""
    hardware = bytes.fromhex(mac.replace(":", ""))
    header = HEADER.pack(1, 1, 6, 0, 0xBEEF, 3, 0x8000, IPv4Address(own).packed, ZERO, ZERO, ZERO, hardware, COOKIE)
    found = bytes([Option.KIND, 1, kind, Option.PAD, 60, 8]) + b"MSFT 5.0"
    for name, text in options.items():
        found += bytes([Option[name.upper()], 4]) + IPv4Address(text).packed
    return header + found + bytes([Option.END])


def answered(data: bytes) -> dict[int, bytes]:
    """The options of an answer, with what it gives as number 0."""
    fields = HEADER.unpack_from(data)
    assert fields[:5] == (2, 1, 6, 0, 0xBEEF)
    found, at = {0: fields[8]}, HEADER.size
    while data[at] != Option.END:
        found[data[at]] = data[at + 2 : at + 2 + data[at + 1]]
        at += 2 + data[at + 1]
    return found


def test_the_guest_is_offered_and_given_its_one_address() -> None:
    for kind, wanted, expected in (
        (Kind.DISCOVER, {}, Kind.OFFER),
        (Kind.REQUEST, {"wanted_address": "10.0.1.4"}, Kind.ACK),
    ):
        request = read(packed(kind, **wanted))
        assert request is not None
        found = answer(request, LEASE)
        assert found is not None
        assert (found.kind, found.to, len(found.data)) == (expected, "255.255.255.255", 300)
        assert answered(found.data) == {
            0: bytes((10, 0, 1, 4)),
            Option.KIND: bytes([expected]),
            Option.SERVER: bytes((10, 0, 1, 1)),
            Option.LEASE_SECONDS: struct.pack(">I", 3600),
            Option.MASK: bytes((255, 255, 255, 0)),
            Option.ROUTER: bytes((10, 0, 1, 1)),
            Option.NAME_SERVER: bytes((10, 0, 2, 53)),
        }


def test_a_guest_that_has_its_address_is_answered_there() -> None:
    request = read(packed(Kind.REQUEST, own="10.0.1.4"))
    assert request is not None
    found = answer(request, LEASE)
    assert found is not None
    assert (found.kind, found.to) == (Kind.ACK, "10.0.1.4")


@pytest.mark.parametrize("kind", [Kind.DISCOVER, Kind.REQUEST])
def test_no_guest_chooses_whom_an_answer_goes_to(kind: Kind) -> None:
    for own in ("198.51.100.7", "10.0.1.1", "127.0.0.1", "224.0.0.1"):
        request = read(packed(kind, own=own, wanted_address="10.0.1.4"))
        assert request is not None
        found = answer(request, LEASE)
        assert found is not None
        assert found.to == "255.255.255.255"


def test_another_address_is_refused_to_everybody_on_the_link() -> None:
    request = read(packed(Kind.REQUEST, own="10.0.1.9", wanted_address="10.0.1.9"))
    assert request is not None
    found = answer(request, LEASE)
    assert found is not None
    assert (found.kind, found.to) == (Kind.NAK, "255.255.255.255")
    assert answered(found.data) == {0: ZERO, Option.KIND: bytes([Kind.NAK]), Option.SERVER: bytes((10, 0, 1, 1))}


@pytest.mark.parametrize(
    "data",
    [
        packed(Kind.DISCOVER, mac="02:00:0a:00:01:05"),
        packed(Kind.REQUEST, server="10.0.1.2", wanted_address="10.0.1.4"),
        packed(Kind.RELEASE, own="10.0.1.4"),
        packed(Kind.DECLINE, wanted_address="10.0.1.4"),
        packed(Kind.OFFER),
    ],
    ids=["another guest", "another server", "released", "declined", "no question"],
)
def test_what_is_not_asked_of_it_is_not_answered(data: bytes) -> None:
    request = read(data)
    assert request is not None
    assert answer(request, LEASE) is None


def test_bytes_without_measure_are_no_request_and_never_an_error() -> None:
    good, chance = packed(Kind.DISCOVER), random.Random(7)  # noqa: S311
    for _ in range(3000):
        data = bytearray(good[: chance.randrange(len(good) + 1)])
        for _ in range(min(len(data), chance.randrange(4))):
            data[chance.randrange(len(data))] = chance.randrange(256)
        request = read(bytes(data))
        if request is not None:
            answer(request, LEASE)
    assert read(good + bytes(1500)) is None
