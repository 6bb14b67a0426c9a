"""What a jailed program gets as open descriptors instead of paths: its disks, its network tap, its sockets.

They are opened by the supervisor, whose files they are. The program's argument list names each as `@NAME@`, for its
number is known only when it is open.

*Leaves behind:* nothing. *Undone by:* leaving the block; the program has copies of its own then.
"""

import contextlib
import os
import re
import socket
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from vmkiln.host.confinement.kernel_calls import attach_tap

TUN = "/dev/net/tun"
MOST_DESCRIPTORS = 64


class Kind(StrEnum):
    """How a descriptor comes to be: a file to read, a file to read and write, a unix socket, a network tap."""

    READ = "read"
    WRITE = "write"
    CONNECT = "connect"
    TAP = "tap"


@dataclass(frozen=True)
class Descriptor:
    """One descriptor: the name in the argument list, its kind, and the path of the file or socket, or the tap's name.

    The name is of small letters and digits.
    """

    name: str
    kind: Kind
    target: str

    def described(self) -> dict[str, Any]:
        """For a message to the supervisor."""
        return asdict(self)

    @classmethod
    def read(cls, described: Mapping[str, Any]) -> "Descriptor":
        """What `described` gave."""
        return cls(described["name"], Kind(described["kind"]), described["target"])


@contextlib.contextmanager
def opened(descriptors: Sequence[Descriptor]) -> Iterator[dict[str, int]]:
    """The numbers by name while the block lasts. Raises: `OSError`, `ValueError` when there are too many."""
    if len(descriptors) > MOST_DESCRIPTORS:
        raise ValueError(f"a program gets at most {MOST_DESCRIPTORS} descriptors")
    with contextlib.ExitStack() as stack:
        numbers = {}
        for descriptor in descriptors:
            number = _opened(descriptor)
            stack.callback(os.close, number)
            numbers[descriptor.name] = number
        yield numbers


def with_numbers(arguments: Sequence[str], numbers: Mapping[str, int]) -> list[str]:
    """The arguments with `@NAME@` replaced where there is a descriptor of that name; pure."""

    def number_of(match: re.Match[str]) -> str:
        return str(numbers[match[1]]) if match[1] in numbers else match[0]

    return [re.sub(r"@([a-z0-9]+)@", number_of, text) for text in arguments]


def _opened(descriptor: Descriptor) -> int:
    match descriptor.kind:
        case Kind.READ | Kind.WRITE:
            return _file(descriptor.target, os.O_RDONLY if descriptor.kind is Kind.READ else os.O_RDWR)
        case Kind.CONNECT:
            with socket.socket(socket.AF_UNIX) as plug:
                plug.connect(descriptor.target)
                return plug.detach()
        case Kind.TAP:
            return _tap(descriptor.target)


def _file(path: str, flags: int) -> int:
    """An ordinary file, opened without following a link in its last part, and without waiting at a pipe."""
    number = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise OSError(f"{path} is no ordinary file")
    os.set_blocking(number, True)
    return number


def _tap(name: str) -> int:
    number = os.open(TUN, os.O_RDWR | os.O_CLOEXEC)
    try:
        attach_tap(number, name)
    except OSError:
        os.close(number)
        raise
    return number
