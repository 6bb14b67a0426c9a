"""Looking for a run's own secrets in the bytes of finished files: also where no file of the image has them any more.

A disk image has its own tables between the guest's bytes, which can part what is looked for; so each secret is looked
for by its lines, and one of them is enough.
"""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from vmkiln.files.sparse_file import data_ranges

BLOCK_BYTES = 8 * 1024 * 1024
LEAST_LINE_LETTERS = 24
_PUBLIC_KEY = re.compile(rb"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI([\w+/]{43})")
_PRIVATE_KEY = re.compile(rb"-----BEGIN OPENSSH PRIVATE KEY-----(.{60,4000}?)-----END OPENSSH PRIVATE KEY", re.DOTALL)


def secrets_of_seed(seed: bytes) -> Mapping[str, tuple[bytes, ...]]:
    """What of a run's cloud-init seed must not be in an image: the lines of its keys, by what they are; pure.

    The first line of an OpenSSH private key is the same in every key.
    """
    found: dict[str, tuple[bytes, ...]] = {}
    for body in _PRIVATE_KEY.findall(seed):
        lines = [line for line in re.split(rb"\\n|\s+", body) if line][1:]
        found["the build VM's private host key"] = tuple(line for line in lines if len(line) >= LEAST_LINE_LETTERS)
    if public := tuple(_PUBLIC_KEY.findall(seed)):
        found["a public key of the build"] = public
    return found


def found_in(files: Iterable[Path], wanted: Mapping[str, Iterable[bytes]]) -> list[str]:
    """Which of the secrets, by what they are, stand in the files; what lies in holes is not read."""
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
    return sorted(found)
