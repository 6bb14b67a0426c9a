"""The key of a failed VM, sealed for one visitor: whoever passes it on cannot read it.

The visitor makes a pair of keys for one visit and sends the public one with what it asks for. The host seals with it
what ssh logs in with. Each sealed text has a key of its own, so its nonce may be the same.
Source: RFC 7748 (X25519), RFC 5869 (HKDF), NIST SP 800-38D (AES-GCM).
"""

import base64
import binascii

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES = 32
NONCE = bytes(12)
PURPOSE = b"vmkiln shell key 1"
LONGEST_KEY_BYTES = 16 * 1024


class VisitorKey:
    """The pair of keys of one visit; it is kept nowhere."""

    def __init__(self) -> None:
        self._private = X25519PrivateKey.generate()

    @property
    def public(self) -> str:
        """What the host seals with, as text."""
        return _text(_raw(self._private.public_key()))

    def opened(self, sealed: str) -> str:
        """What was sealed for this visit. Raises: `ValueError` when it was not."""
        content = _bytes(sealed)
        theirs, own = content[:KEY_BYTES], _raw(self._private.public_key())
        secret = self._private.exchange(X25519PublicKey.from_public_bytes(theirs))
        try:
            return AESGCM(_key(secret, theirs, own)).decrypt(NONCE, content[KEY_BYTES:], None).decode()
        except InvalidTag as error:
            raise ValueError("it was sealed for somebody else, or changed") from error


def sealed_for(public: str, text: str) -> str:
    """A text that only the maker of this public key can read. Raises: `ValueError` when that is no key."""
    theirs = checked(public)
    once = X25519PrivateKey.generate()
    own = _raw(once.public_key())
    secret = once.exchange(X25519PublicKey.from_public_bytes(theirs))
    return _text(own + AESGCM(_key(secret, own, theirs)).encrypt(NONCE, text.encode(), None))


def checked(public: str) -> bytes:
    """The bytes of a visitor's public key; pure. Raises: `ValueError` when it is none."""
    found = _bytes(public)
    if len(found) != KEY_BYTES:
        raise ValueError(f"a key of X25519 has {KEY_BYTES} bytes")
    return found


def _key(secret: bytes, sender: bytes, receiver: bytes) -> bytes:
    return HKDF(hashes.SHA256(), KEY_BYTES, None, PURPOSE + sender + receiver).derive(secret)


def _raw(key: X25519PublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def _text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode()


def _bytes(text: str) -> bytes:
    if len(text) > 2 * LONGEST_KEY_BYTES:
        raise ValueError("it is too long for a key")
    try:
        return base64.b64decode(text, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("it is no base64url") from error
