"""DNS messages: what is read, what is refused, and that nothing but `NotDns` comes of whatever others write."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmkiln.host.egress import dns_message
from vmkiln.host.egress.dns_message import Answer, NotDns, Question


def wire(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode("latin-1") for label in name.split(".")) + b"\0"


def question(name: str = "Deb.Debian.org", kind: int = 1, *, edns: int = 0, flags: int = 0x0100) -> bytes:
    head = struct.pack("!6H", 4711, flags, 1, 0, 0, bool(edns))
    return head + wire(name) + struct.pack("!HH", kind, 1) + (wishes(edns) if edns else b"")


def wishes(size: int) -> bytes:
    return struct.pack("!BHHIH", 0, 41, size, 0x8000, 0)


def answer(*records: bytes, edns: bytes = b"", number: int = 9, flags: int = 0x8180) -> bytes:
    head = struct.pack("!6H", number, flags, 1, len(records), 0, bool(edns))
    return head + wire("deb.debian.org") + struct.pack("!HH", 1, 1) + b"".join(records) + edns


def record(kind: int, value: bytes, *, name: bytes = b"\xc0\x0c") -> bytes:
    return name + struct.pack("!HHIH", kind, 1, 60, len(value)) + value


ADDRESS = record(1, bytes([203, 0, 113, 10]))


def test_a_question_is_read() -> None:
    found = dns_message.parse_question(question(edns=1232))
    assert (found.number, found.name, found.kind_name) == (4711, "deb.debian.org", "A")
    assert (found.udp_bytes, found.wants_dnssec) == (1232, True)
    assert dns_message.parse_question(question(kind=65)).kind_name == "HTTPS"
    assert dns_message.parse_question(question(kind=999)).kind_name == "TYPE999"


def test_odd_letters_of_a_name_are_written_as_numbers() -> None:
    assert dns_message.parse_question(question("a b\x1b.\xe9")).name == "a\\032b\\027.\\233"


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"who are you",
        question()[:-1],
        question(flags=0x8100),
        question(flags=0x2800),
        question()[:-2] + b"\0\3",
        struct.pack("!6H", 1, 0x0100, 2, 0, 0, 0) + question()[12:] * 2,
        struct.pack("!6H", 1, 0x0100, 1, 0, 0, 0) + b"\xc0\x0c\0\1\0\1",
        question("x" * 63 + ("." + "x" * 63) * 3),
        question(edns=512)[:-1],
    ],
)  # fmt: skip
def test_what_is_no_plain_question_is_refused(message: bytes) -> None:
    with pytest.raises(NotDns):
        dns_message.parse_question(message)


def test_the_question_that_is_put_has_nothing_else_of_the_clients() -> None:
    """An option, or a record, could carry what nobody asked for."""
    sent = question(edns=512)[:-2] + struct.pack("!HHH", 8, 65001, 4) + b"leak"
    put = dns_message.asking(dns_message.parse_question(sent), 7)
    assert put[:2] == b"\0\7"
    assert b"leak" not in put
    assert dns_message.parse_question(put).name == "deb.debian.org"


def test_an_answer_tells_its_addresses() -> None:
    alias = record(5, b"\x03cdn\xc0\x10")
    six = record(28, bytes(15) + b"\1")
    assert dns_message.answer_of(answer(alias, ADDRESS, six)) == Answer(0, ("203.0.113.10", "::1"), 0)
    assert dns_message.answer_of(answer(flags=0x8183)).code_name == "NXDOMAIN"


@pytest.mark.parametrize(
    "message",
    [
        answer(ADDRESS[:-1]),
        answer(record(1, b"abcd", name=b"\xc0\xff")),
        answer(record(1, b"abcd", name=b"\xc0\x20")),
        struct.pack("!6H", 9, 0x8180, 1, 60000, 0, 0) + answer()[12:] + ADDRESS * 600,
    ],
)
def test_an_answer_that_does_not_add_up_is_refused(message: bytes) -> None:
    with pytest.raises(NotDns):
        dns_message.answer_of(message)


def test_only_an_answer_to_the_same_question_counts() -> None:
    asked = dns_message.parse_question(question())
    assert dns_message.is_answer_to(answer(ADDRESS), asked)
    assert not dns_message.is_answer_to(answer(ADDRESS).replace(b"debian", b"debien"), asked)
    assert not dns_message.is_answer_to(answer(flags=0x0100), asked)
    assert not dns_message.is_answer_to(answer()[:14], asked)


def test_the_client_gets_the_answer_with_its_own_number() -> None:
    asked = dns_message.parse_question(question())
    passed = dns_message.passed_on(answer(ADDRESS), asked, most_bytes=512)
    assert passed == answer(ADDRESS, number=4711)


def test_who_says_nothing_of_edns_gets_nothing_of_it() -> None:
    asked = dns_message.parse_question(question())
    passed = dns_message.passed_on(answer(ADDRESS, edns=wishes(4096)), asked, most_bytes=512)
    assert passed == answer(ADDRESS, number=4711)
    asked = dns_message.parse_question(question(edns=4096))
    passed = dns_message.passed_on(answer(ADDRESS, edns=wishes(4096)), asked, most_bytes=512)
    assert passed == answer(ADDRESS, number=4711, edns=wishes(4096))


def test_an_answer_that_is_too_long_is_cut() -> None:
    asked = dns_message.parse_question(question())
    cut = dns_message.passed_on(answer(*[ADDRESS] * 60), asked, most_bytes=512)
    assert cut[2] & 2
    assert dns_message.answer_of(cut).addresses == ()
    assert cut[:2] == b"\x12\x67"


def test_an_answer_of_our_own_has_the_question_and_the_code() -> None:
    asked = dns_message.parse_question(question())
    refused = dns_message.own_answer(asked, dns_message.REFUSED)
    assert dns_message.is_answer_to(refused, asked)
    assert dns_message.answer_of(refused).code_name == "REFUSED"


def test_a_complaint_is_made_to_questions_only() -> None:
    assert dns_message.complaint(b"\0" * 11) is None
    assert dns_message.complaint(answer()) is None
    assert (dns_message.complaint(question(flags=0x2800)) or b"")[:2] == b"\x12\x67"


MUTATED = st.tuples(
    st.sampled_from([question(edns=4096), answer(ADDRESS, record(5, b"\xc0\x0c"), edns=wishes(512)), b""]),
    st.lists(st.tuples(st.integers(0, 100), st.binary(max_size=4)), max_size=6),
)


@given(MUTATED)
def test_whatever_arrives_is_read_or_refused(case: tuple[bytes, list[tuple[int, bytes]]]) -> None:
    message, changes = case
    for at, piece in changes:
        message = message[:at] + piece + message[at + len(piece) :]
    asked = Question(1, "deb.debian.org", 1, 0, wire("deb.debian.org") + b"\0\1\0\1")
    dns_message.complaint(message)
    for read in (
        lambda: dns_message.parse_question(message),
        lambda: dns_message.is_answer_to(message, asked),
        lambda: dns_message.answer_of(message),
        lambda: dns_message.passed_on(message, asked, most_bytes=512),
    ):
        try:
            read()
        except NotDns:
            continue
