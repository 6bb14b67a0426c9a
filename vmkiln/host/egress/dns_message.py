"""DNS messages, as much as a resolver that passes questions on has to understand: pure, standard library only.

It runs in a jail beside nothing but Python, so it imports nothing else. Every length and every pointer of what others
wrote is checked; whatever does not fit is `NotDns`, and nothing else is raised.
Sources: RFC 1035 (section 4), RFC 6891 (EDNS), RFC 3597 (names of types).
"""

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

NO_ERROR, FORMAT_ERROR, SERVER_FAILURE, REFUSED = 0, 1, 2, 5
A, CNAME, AAAA, OPT = 1, 5, 28, 41
INTERNET = 1
KINDS = {1: "A", 2: "NS", 5: "CNAME", 6: "SOA", 12: "PTR", 15: "MX", 16: "TXT", 28: "AAAA", 33: "SRV", 35: "NAPTR",
         43: "DS", 46: "RRSIG", 48: "DNSKEY", 64: "SVCB", 65: "HTTPS", 255: "ANY"}  # fmt: skip
CODES = {0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED"}
MOST_NAME_BYTES = 255
MOST_RECORDS = 512
MOST_POINTERS = 32
LEAST_UDP_BYTES = 512
MOST_UDP_BYTES = 4096
_HEADER = struct.Struct("!6H")
_RESPONSE, _TRUNCATED, _RECURSE, _CAN_RECURSE = 0x8000, 0x0200, 0x0100, 0x0080
_AUTHENTIC, _UNCHECKED = 0x0020, 0x0010  # what a client may ask for; passed on
_DNSSEC_OK = 0x8000


class NotDns(ValueError):
    """Bytes that are no message of DNS, or none that is passed on."""


@dataclass(frozen=True)
class Question:
    """A question as a client put it. `name` is in small letters, without the last dot; odd bytes are `\\ddd`.

    `wire` is the question section. `udp_bytes` is the largest answer its sender takes by UDP; 0: it said nothing.
    """

    number: int
    name: str
    kind: int
    flags: int
    wire: bytes
    udp_bytes: int = 0
    wants_dnssec: bool = False

    @property
    def kind_name(self) -> str:
        """The type by its name, `TYPE99` for one without."""
        return KINDS.get(self.kind, f"TYPE{self.kind}")


@dataclass(frozen=True)
class Answer:
    """What an answer says: its code, the addresses it has, where the EDNS record at its end begins (0: none)."""

    code: int
    addresses: tuple[str, ...]
    edns_at: int

    @property
    def code_name(self) -> str:
        """The code by its name."""
        return CODES.get(self.code, f"RCODE{self.code}")


def parse_question(message: bytes) -> Question:
    """The one question of a message. Raises: `NotDns` for answers, several questions, other classes, and noise."""
    number, flags, questions, answers, authorities, additional = _header(message)
    if flags & _RESPONSE or flags & 0x7800 or questions != 1 or answers or authorities or additional > 2:
        raise NotDns("no plain question")
    name, at = _name(message, _HEADER.size, may_point=False)
    kind, of_class = _unpacked("!HH", message, at)
    if of_class != INTERNET:
        raise NotDns("a class that is not the Internet's")
    wire, at = message[_HEADER.size : at + 4], at + 4
    udp_bytes, wants_dnssec = 0, False
    for _ in range(additional):
        _, at = _name(message, at)
        record, size, extended, length = _unpacked("!HHIH", message, at)
        at += 10 + length
        if at > len(message):
            raise NotDns("a record that is cut off")
        if record == OPT:
            udp_bytes, wants_dnssec = min(max(size, LEAST_UDP_BYTES), MOST_UDP_BYTES), bool(extended & _DNSSEC_OK)
    return Question(number, name, kind, flags & (_RECURSE | _AUTHENTIC | _UNCHECKED), wire, udp_bytes, wants_dnssec)


def question_for(name: str, *, number: int) -> Question:
    """The question for the addresses (A) of a plain name, as we put it ourselves."""
    labels = b"".join(bytes([len(label)]) + label.encode("ascii") for label in name.split("."))
    return Question(number, name, A, _RECURSE, labels + struct.pack("!BHH", 0, A, INTERNET))


def asking(question: Question, number: int) -> bytes:
    """The question put anew, with a number of our own: nothing of the client's but the question and its wishes."""
    head = _HEADER.pack(number, question.flags | _RECURSE, 1, 0, 0, 1)
    wishes = struct.pack("!BHHIH", 0, OPT, MOST_UDP_BYTES, _DNSSEC_OK if question.wants_dnssec else 0, 0)
    return head + question.wire + wishes


def is_answer_to(message: bytes, question: Question) -> bool:
    """Whether a message answers this very question, whatever its number."""
    if len(message) < _HEADER.size + len(question.wire):
        return False
    _, flags, questions, *_ = _header(message)
    if not flags & _RESPONSE or questions != 1:
        return False
    section = message[_HEADER.size : _HEADER.size + len(question.wire)]
    return section.lower() == question.wire.lower()


def answer_of(message: bytes) -> Answer:
    """What an answer says. Raises: `NotDns`."""
    _, flags, questions, *counts = _header(message)
    at = _HEADER.size
    for _ in range(questions):
        _, at = _name(message, at)
        at += 4
    if sum(counts) > MOST_RECORDS:
        raise NotDns("too many records")
    addresses, edns_at = [], 0
    for index in range(sum(counts)):
        start = at
        _, at = _name(message, at)
        kind, _, _, length = _unpacked("!HHIH", message, at)
        at += 10
        if at + length > len(message):
            raise NotDns("a record that is cut off")
        value, at = message[at : at + length], at + length
        if index < counts[0] and kind == A and length == 4:
            addresses.append(str(IPv4Address(value)))
        elif index < counts[0] and kind == AAAA and length == 16:
            addresses.append(str(IPv6Address(value)))
        elif kind == OPT and at == len(message):
            edns_at = start
    return Answer(flags & 15, tuple(addresses), edns_at)


def passed_on(message: bytes, question: Question, *, most_bytes: int) -> bytes:
    """Somebody's answer as the client gets it: with its number, and cut when it is too long. Raises: `NotDns`."""
    _, flags, *counts = _header(message)
    edns_at = answer_of(message).edns_at
    if edns_at and not question.udp_bytes:  # who says nothing of EDNS gets nothing of it (RFC 6891, 7)
        message, counts[3] = message[:edns_at], counts[3] - 1
    if len(message) > most_bytes:
        head = _HEADER.pack(question.number, flags | _TRUNCATED, 1, 0, 0, 0)
        return head + question.wire
    return _HEADER.pack(question.number, flags, *counts) + message[_HEADER.size :]


def own_answer(question: Question, code: int) -> bytes:
    """An answer of our own, without a record."""
    flags = _RESPONSE | _CAN_RECURSE | question.flags & (_RECURSE | _UNCHECKED) | code
    return _HEADER.pack(question.number, flags, 1, 0, 0, 0) + question.wire


def complaint(message: bytes) -> bytes | None:
    """What is said to a message that is none; nothing to what has no number, or is an answer itself."""
    if len(message) < _HEADER.size or _header(message)[1] & _RESPONSE:
        return None
    return _HEADER.pack(_header(message)[0], _RESPONSE | FORMAT_ERROR, 0, 0, 0, 0)


def _header(message: bytes) -> tuple[int, ...]:
    return _unpacked("!6H", message, 0)


def _unpacked(form: str, message: bytes, at: int) -> tuple[int, ...]:
    try:
        return struct.unpack_from(form, message, at)
    except struct.error:
        raise NotDns("a message that is cut off") from None


def _name(message: bytes, at: int, *, may_point: bool = True) -> tuple[str, int]:
    """A name, and where what follows it begins."""
    labels: list[str] = []
    after, size, pointers = 0, 0, 0
    while (length := _unpacked("!B", message, at)[0]) != 0:
        if length >= 0xC0:
            target = _unpacked("!H", message, at)[0] & 0x3FFF
            pointers += 1
            if not may_point or target >= at or pointers > MOST_POINTERS:
                raise NotDns("a name that points where it may not")
            after = after or at + 2
            at = target
            continue
        label = message[at + 1 : at + 1 + length]
        size += length + 1
        if length > 63 or len(label) < length or size >= MOST_NAME_BYTES:
            raise NotDns("a name that is too long")
        labels.append("".join(_letter(byte) for byte in label))
        at += 1 + length
    return ".".join(labels), after or at + 1


def _letter(byte: int) -> str:
    letter = chr(byte).lower()
    return letter if letter.isascii() and (letter.isalnum() or letter in "-_") else f"\\{byte:03d}"
