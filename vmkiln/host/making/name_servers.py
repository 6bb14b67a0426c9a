"""Whether this machine's name servers answer over TCP: who asks for names that way needs no UDP.

Source: resolv.conf(5), `use-vc`; RFC 7766, by which every name server has to.
"""

import contextlib
import re
import socket
import struct
from pathlib import Path

FILE = Path("/etc/resolv.conf")
PORT = 53
MOST_ASKED = 3  # as the C library
ANSWER_SECONDS = 2.0
OVER_TCP = {"RES_OPTIONS": "use-vc"}  # for the C library of whoever asks
_ID, _IS_ANSWER = 0x766B, 0x8000
# who the root's name servers are, which every server knows or refuses to say; its length comes first
QUESTION = struct.pack("!6H", _ID, 0x0100, 1, 0, 0, 0) + b"\0" + struct.pack("!2H", 2, 1)
HEAD_BYTES = 6  # the answer's length, its id, its flags
_NAMED = re.compile(r"^\s*nameserver\s+(\S+)", re.MULTILINE)


def addresses(text: str) -> list[str]:
    """The name servers that the C library asks; without a line it asks this machine; pure."""
    return _NAMED.findall(text)[:MOST_ASKED] or ["127.0.0.1"]


def take_tcp(*, file: Path = FILE, port: int = PORT, seconds: float = ANSWER_SECONDS) -> bool:
    """Whether one of them answers a question over TCP; blocks for so long for each at most.

    That it takes a connection says nothing: gateways take those to every address.
    """
    try:
        text = file.read_text(errors="replace")
    except OSError:
        text = ""
    return any(_answers(address, port, seconds) for address in addresses(text))


def _answers(address: str, port: int, seconds: float) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((address, port), timeout=seconds) as server:
        server.settimeout(seconds)
        server.sendall(struct.pack("!H", len(QUESTION)) + QUESTION)
        _, number, flags = struct.unpack("!3H", server.recv(HEAD_BYTES, socket.MSG_WAITALL).ljust(HEAD_BYTES, b"\0"))
        return number == _ID and bool(flags & _IS_ANSWER)
    return False
