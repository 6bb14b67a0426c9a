"""The issuer of tokens: RSA keys and a tenant id, made at first start and kept, so that clients' tokens stay good.

The newest key signs; the public halves of older ones stay, so what they signed is still known for its own.

A token says who (`oid`, `appid`), for what (`aud`), from whom (`iss`, `tid`), until when (`exp`).
Source: RFC 7519 (JWT), RFC 7517 (JWK); the claims are those of Microsoft's access tokens, version 1.0.
"""

import base64
import functools
import hashlib
import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from vmkiln.files import locks
from vmkiln.files.durable_file import make_folder, reported, sync, write_whole
from vmkiln.sealing.key_ring import KeyRing, Material, Purpose
from vmkiln.store.rows import PrincipalRow

LOGIN_KEY = "vmkiln_login_key"  # a claim
ALGORITHM = "RS256"
LEEWAY_SECONDS = 60


@dataclass(frozen=True)
class Issuer:
    """The tenant, a key and its id; with a ring of keys, those in it take its place."""

    tenant_id: str
    private_key: rsa.RSAPrivateKey
    key_id: str
    ring: KeyRing | None = None

    def _signing(self) -> tuple[str, rsa.RSAPrivateKey]:
        if self.ring is None:
            return self.key_id, self.private_key
        key = self.ring.current(Purpose.SIGNING, new_material)
        return key.key_id, _private(key.secret)

    def _public_keys(self) -> dict[str, rsa.RSAPublicKey]:
        if self.ring is None:
            return {self.key_id: self.private_key.public_key()}
        return {key.key_id: _public(key.public) for key in self.ring.keys(Purpose.SIGNING)}

    @property
    def issuer(self) -> str:
        """The `iss` of its tokens; Azurite and the SDKs know the shape."""
        return f"https://sts.windows.net/{self.tenant_id}/"

    def token(
        self,
        principal: PrincipalRow,
        *,
        audience: str,
        now: datetime,
        lasts_seconds: int,
        identity_id: str = "",
        authenticated: int = 0,
        key_id: str = "",
    ) -> str:
        """An access token for a principal, or for the managed identity of this id.

        `authenticated` is when its holder logged in, in seconds since 1970; 0 when that is now. `key_id` is the
        federated credential by which a person did.
        """
        claims = {
            "aud": audience,
            "iss": self.issuer,
            "iat": now,
            "nbf": now - timedelta(seconds=LEEWAY_SECONDS),
            "exp": now + timedelta(seconds=lasts_seconds),
            "tid": self.tenant_id,
            "oid": principal.object_id,
            "sub": principal.object_id,
            "appid": principal.app_id,
            "app_displayname": principal.display_name,
            "idtyp": "app",
            "ver": "1.0",
            "uti": uuid.uuid4().hex,
        }
        if authenticated:
            claims["auth_time"] = authenticated
        if key_id:
            claims[LOGIN_KEY] = key_id
        if identity_id:
            claims["xms_mirid"] = identity_id
        signing_id, key = self._signing()
        return jwt.encode(claims, key, algorithm=ALGORITHM, headers={"kid": signing_id})

    def claims(self, token: str, *, now: datetime) -> Mapping[str, Any]:
        """What one of its own tokens says; the audience is for the caller to check.

        Raises: `jwt.InvalidTokenError` for a token that is not its own, is over, or was changed.
        """
        key = self._public_keys().get(str(jwt.get_unverified_header(token).get("kid")))
        if key is None:
            raise jwt.InvalidTokenError("the token was signed with a key that is not known here")
        found = jwt.decode(
            token,
            key,
            algorithms=[ALGORITHM],
            issuer=self.issuer,
            options={
                "require": ["aud", "iss", "exp", "nbf", "oid"],
                "verify_aud": False,
                "verify_exp": False,
                "verify_nbf": False,
            },
        )
        # by the store's clock, and with the leeway of both ends
        moment = now.timestamp()
        if moment > float(found["exp"]) + LEEWAY_SECONDS:
            raise jwt.ExpiredSignatureError("the token has expired")
        if moment < float(found["nbf"]) - LEEWAY_SECONDS:
            raise jwt.ImmatureSignatureError("the token is not valid yet")
        return dict(found)

    def key_set(self) -> dict[str, Any]:
        """The public keys as a JWK set, the newest last."""
        found = []
        for key_id, key in self._public_keys().items():
            numbers = key.public_numbers()
            found.append(
                {
                    "kty": "RSA",
                    "use": "sig",
                    "alg": ALGORITHM,
                    "kid": key_id,
                    "n": _base64(numbers.n),
                    "e": _base64(numbers.e),
                    "issuer": self.issuer,
                }
            )
        return {"keys": found}


def _base64(number: int) -> str:
    content = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def new_key() -> bytes:
    """A new private key in PEM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def issuer_of(tenant_id: str, key_text: bytes) -> Issuer:
    """The issuer with this key alone; the key's id is derived from it."""
    return Issuer(tenant_id, _private(key_text), material_of(key_text).key_id)


def new_material() -> Material:
    """A new key for a ring."""
    return material_of(new_key())


def material_of(key_text: bytes) -> Material:
    """A private key in PEM with its public half and its id, which is derived from that."""
    public = _private(key_text).public_key()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    key_id = hashlib.sha256(public.public_bytes(serialization.Encoding.DER, form)).hexdigest()[:32]
    return Material(key_text, public.public_bytes(serialization.Encoding.PEM, form).decode(), key_id)


@functools.lru_cache(maxsize=4)
def _private(text: bytes) -> rsa.RSAPrivateKey:
    key = serialization.load_pem_private_key(text, password=None)
    assert isinstance(key, rsa.RSAPrivateKey)  # new_key makes no other
    return key


@functools.lru_cache(maxsize=128)
def _public(text: str) -> rsa.RSAPublicKey:
    key = serialization.load_pem_public_key(text.encode())
    assert isinstance(key, rsa.RSAPublicKey)
    return key


def ensure_issuer(directory: Path, keys: Path) -> Issuer:
    """The issuer whose tenant is kept in `directory` and whose keys are in the folder `keys`, made when missing.

    A key that an older release kept in `directory` is moved to the others. Who asks at the same time waits, and
    is given the same tenant.
    Raises: `KeyUnavailable` when the keys cannot be read, `StorageFailed` when they cannot be written.
    """
    make_folder(directory)
    with reported(f"locking {directory}"), locks.opened(directory, flags=os.O_RDONLY) as descriptor:
        locks.take(descriptor)
        return _ensured(directory, keys)


def _ensured(directory: Path, keys: Path) -> Issuer:
    old_file, tenant_file = directory / "signing-key.pem", directory / "tenant"
    ring = KeyRing(keys)
    old = old_file.read_bytes() if old_file.exists() else b""
    key = ring.current(Purpose.SIGNING, lambda: material_of(old) if old else new_material())
    if old:
        old_file.unlink()
        sync(directory)
    if not tenant_file.exists():
        write_whole(tenant_file, f"{uuid.uuid4()}\n".encode())
    return Issuer(tenant_file.read_text().strip(), _private(key.secret), key.key_id, ring)
