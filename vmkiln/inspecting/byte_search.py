"""Looking for a run's own secrets in the bytes of finished files: also where no file of the image has them any more.

A disk image has its own tables between the guest's bytes, which can part what is looked for; so each secret is looked
for by its lines, and one of them is enough.
"""

import base64
import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from vmkiln.files.sparse_file import data_ranges

BLOCK_BYTES = 8 * 1024 * 1024
LEAST_LINE_LETTERS = 24
LEAST_HALF_BYTES = 10  # of a password; fewer would stand in many an image by chance
_PUBLIC_KEY = re.compile(rb"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI([\w+/]{43})")
_PASSWORD = re.compile(rb'"user": "packer", "password": "([A-Za-z0-9]{24})"')  # of `run.json` on an answer disc
_PRIVATE_KEY = re.compile(rb"-----BEGIN OPENSSH PRIVATE KEY-----(.{60,4000}?)-----END OPENSSH PRIVATE KEY", re.DOTALL)


def secrets_of_seed(seed: bytes) -> Mapping[str, tuple[bytes, ...]]:
    """What of a run's seed must not be in an image: the lines of a Linux VM's keys, the password of a Windows VM; pure.

    The first line of an OpenSSH private key is the same in every key.
    """
    found: dict[str, tuple[bytes, ...]] = {}
    for body in _PRIVATE_KEY.findall(seed):
        lines = [line for line in re.split(rb"\\n|\s+", body) if line][1:]
        found["the build VM's private host key"] = tuple(line for line in lines if len(line) >= LEAST_LINE_LETTERS)
    if public := tuple(_PUBLIC_KEY.findall(seed)):
        found["a public key of the build"] = public
    for password in _PASSWORD.findall(seed):
        found |= secrets_of_password(password.decode())
    return found


def secrets_of_password(password: str) -> Mapping[str, tuple[bytes, ...]]:
    """A password of a Windows run, as a disk may have it: in UTF-8 and UTF-16, and base64 of either; pure.

    Each form in two halves, for a boundary of the image's own can part it in one place.
    """
    found = []
    for content in (password.encode(), password.encode("utf-16-le")):
        found += [content, *_base64_inside(content)]
    halves = [half for form in found for half in (form[: len(form) // 2], form[len(form) // 2 :])]
    return {"the password of the build's user": tuple(half for half in halves if len(half) >= LEAST_HALF_BYTES)}


def _base64_inside(content: bytes) -> list[bytes]:
    """Base64 of bytes amid others: what does not depend on the neighbours, for each of three alignments."""
    return [
        base64.b64encode(bytes(offset) + content)[first : (offset + len(content)) * 8 // 6]
        for offset, first in enumerate((0, 2, 3))
    ]


def found_in(
    files: Iterable[Path], wanted: Mapping[str, Iterable[bytes]], *, between: Callable[[], None] = lambda: None
) -> list[str]:
    """Which of the secrets, by what they are, stand in the files; what lies in holes is not read.

    `between` is called after each block; what it raises ends the search.
    """
    needles = [(name, needle) for name, lines in wanted.items() for needle in lines]
    overlap = max((len(needle) for _, needle in needles), default=1) - 1
    found: set[str] = set()
    for path in files:
        with path.open("rb") as file:
            descriptor = file.fileno()
            for start, end in data_ranges(descriptor, os.fstat(descriptor).st_size):
                before = b""
                for position in range(start, end, BLOCK_BYTES):
                    block = before + os.pread(descriptor, min(BLOCK_BYTES, end - position), position)
                    found |= {name for name, needle in needles if name not in found and needle in block}
                    before = block[-overlap:] if overlap else b""
                    between()
    return sorted(found)
