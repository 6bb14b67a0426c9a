"""A file with holes, copied so that only who has its key can read it, and copied back.

Each copy has a key of its own that seals nothing else, so its blocks are counted for their nonces (AES-256-GCM). Each
is bound to its place, and the last one, which is empty, to the file's size: what is changed, moved or cut off is found.
Source: NIST SP 800-38D (a nonce is used once with a key).
"""

import itertools
import os
import secrets
import struct
from typing import Any

from vmkiln.host.saved.memory_file import blocks, write_all

KEY_BYTES = 32
FRAME = struct.Struct(">QI")  # the place of a block in the file, and how many bytes of it follow, sealed
MOST_SEALED_BYTES = 1024**2
NONCE_BYTES = 12


def new_key() -> bytes:
    """The key of one copy."""
    return secrets.token_bytes(KEY_BYTES)


def cipher(key: bytes) -> Any:
    """What seals and opens; whoever is about to fork loads it by this before."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 (only for who has sealed files)

    return AESGCM(key)


def sealed(source: int, target: int, key: bytes) -> None:
    """Copy what an open file holds into another, empty one, sealed. Raises: `OSError`."""
    aead, size, done = cipher(key), os.fstat(source).st_size, 0
    for number, (position, content) in enumerate(itertools.chain(blocks(source, size), [(size, b"")])):
        frame = FRAME.pack(position, len(content) + 16)
        text = frame + aead.encrypt(_nonce(number), content, frame)
        write_all(target, text, done)
        done += len(text)


def opened(source: int, target: int, key: bytes) -> None:
    """Copy back what was sealed, into an empty file. Raises: `ValueError` when it is not that, `OSError`."""
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415

    aead, number, content = cipher(key), 0, b"-"
    with os.fdopen(os.dup(source), "rb") as file:
        while content:
            frame = file.read(FRAME.size)
            if len(frame) < FRAME.size:
                raise ValueError("a sealed file has no end")
            position, count = FRAME.unpack(frame)
            if count > MOST_SEALED_BYTES:
                raise ValueError("a sealed file is not what was sealed")
            try:
                content = aead.decrypt(_nonce(number), file.read(count), frame)
            except InvalidTag as error:
                raise ValueError("a sealed file is not what was sealed") from error
            write_all(target, content, position)
            number += 1
    os.ftruncate(target, position)


def _nonce(number: int) -> bytes:
    return number.to_bytes(NONCE_BYTES)
