"""Seals what must not be read without a key: AES-256-GCM, with a nonce of its own for each value.

A sealed value is a text: the form's version, the key's id, and the nonce with what was encrypted. It is bound to the
place it is kept for, such as the id of a resource, and cannot be opened as another place's.
Source: NIST SP 800-38D (a random nonce of 96 bits: at most 2**32 values of one key).
"""

import base64
import binascii
import json
import os
from pathlib import Path
from typing import Any

from vmkiln.errors import KeyUnavailable
from vmkiln.sealing.key_ring import KeyRing, Purpose, new_secret

VERSION = "v1"
NONCE_BYTES = 12


class Seal:
    """Seals and opens values with the keys in a folder; without a folder it refuses both."""

    def __init__(self, folder: Path | None) -> None:
        self._ring = None if folder is None else KeyRing(folder)

    @property
    def ring(self) -> KeyRing:
        """The keys. Raises: `KeyUnavailable` when nobody said where they are."""
        if self._ring is None:
            raise KeyUnavailable("nobody said where the keys are that secrets are sealed with")
        return self._ring

    def sealed(self, value: Any, *, place: str) -> str:
        """A JSON value, sealed for a place with the newest key. Raises: `KeyUnavailable`, `StorageFailed`."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 (only for who has secrets)

        key = self.ring.current(Purpose.SECRETS, new_secret)
        nonce = os.urandom(NONCE_BYTES)
        content = AESGCM(key.secret).encrypt(nonce, json.dumps(value).encode(), _bound_to(key.key_id, place))
        return f"{VERSION}.{key.key_id}.{base64.urlsafe_b64encode(nonce + content).decode()}"

    def opened(self, text: str, *, place: str) -> Any:
        """What was sealed for a place. Raises: `KeyUnavailable` without its key, or when it is not what was sealed."""
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

        version, _, rest = text.partition(".")
        key_id, _, content = rest.partition(".")
        if version != VERSION:
            raise KeyUnavailable(f"a sealed value has the form {version[:20]!r}, which is not known here")
        key = self.ring.find(Purpose.SECRETS, key_id)
        try:
            raw = base64.urlsafe_b64decode(content)
            return json.loads(
                AESGCM(key.secret).decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], _bound_to(key_id, place))
            )
        except (InvalidTag, ValueError, binascii.Error) as error:
            raise KeyUnavailable(f"a secret of {place} was changed after it was sealed, or is another's") from error


def key_id_of(text: str) -> str:
    """The id of the key that a value was sealed with; pure."""
    return text.split(".")[1] if text.count(".") == 2 else ""


def _bound_to(key_id: str, place: str) -> bytes:
    return f"{VERSION}\0{key_id}\0{place}".encode()
