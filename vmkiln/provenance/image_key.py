"""The keys that statements about images are signed with: Ed25519, known by the digest of the public half.

The key's id is the beginning of the SHA-256 of the public key as DER (SubjectPublicKeyInfo), so whoever has the public
key can work it out: `openssl pkey -pubin -outform DER | sha256sum`.
Source: RFC 8032 (Ed25519), RFC 8410 (its keys in PEM).
"""

import hashlib

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from vmkiln.errors import InputError, KeyUnavailable
from vmkiln.sealing.key_ring import Key, KeyRing, Material, Purpose

ID_LETTERS = 32


def new_material() -> Material:
    """A new key."""
    private = Ed25519PrivateKey.generate()
    raw = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = _pem(private.public_key())
    return Material(raw, public, key_id_of(public))


def current(ring: KeyRing) -> Key:
    """The key that signs now, made when there is none. Raises: `KeyUnavailable`, `StorageFailed`."""
    return ring.current(Purpose.IMAGES, new_material)


def public_keys(ring: KeyRing) -> dict[str, str]:
    """The public keys (PEM) of all that ever signed here, by their ids, the newest first. Raises: `KeyUnavailable`."""
    return {key.key_id: key.public for key in reversed(ring.keys(Purpose.IMAGES))}


def keys_in(text: str, *, file_name: str) -> dict[str, str]:
    """The public keys in a file, one PEM after the other, by their ids. Raises: `InputError`."""
    end = "-----END PUBLIC KEY-----"
    found: dict[str, str] = {}
    for part in text.split(end)[:-1]:
        pem = f"{part.strip()}\n{end}\n"
        try:
            key = serialization.load_pem_public_key(pem.encode())
        except (ValueError, UnsupportedAlgorithm) as error:
            raise InputError(f"{file_name} has a public key that cannot be read") from error
        if not isinstance(key, Ed25519PublicKey):
            raise InputError(f"{file_name} has a public key that is not Ed25519, as those of statements are")
        found[key_id_of(_pem(key))] = _pem(key)
    if not found:
        hint = "`vmkiln image verify --public-key` prints those of this host"
        raise InputError(f"{file_name} has no public key in PEM", hint=hint)
    return found


def key_id_of(public: str) -> str:
    """The id of a public key (PEM); pure."""
    key = serialization.load_pem_public_key(public.encode())
    raw = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(raw).hexdigest()[:ID_LETTERS]


def sign(key: Key, content: bytes) -> bytes:
    """The signature of bytes, 64 of them. Raises: `KeyUnavailable` when the key signs no more."""
    if not key.secret:
        raise KeyUnavailable(f"the key {key.key_id} signs no more")
    private = serialization.load_pem_private_key(key.secret, password=None)
    assert isinstance(private, Ed25519PrivateKey)  # new_material makes no other
    return private.sign(content)


def is_signed(public: str, signature: bytes, content: bytes) -> bool:
    """Whether a public key (PEM) knows the signature for its own; pure."""
    key = serialization.load_pem_public_key(public.encode())
    assert isinstance(key, Ed25519PublicKey)  # keys_in and new_material know no other
    try:
        key.verify(signature, content)
    except InvalidSignature:
        return False
    return True


def _pem(key: Ed25519PublicKey) -> str:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
