"""The issuer of tokens: an RSA key and a tenant id, made at first start and kept, so that clients' tokens stay good.

A token says who (`oid`, `appid`), for what (`aud`), from whom (`iss`, `tid`), until when (`exp`).
Source: RFC 7519 (JWT), RFC 7517 (JWK); the claims are those of Microsoft's access tokens, version 1.0.
"""

import base64
import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from vmkiln.files.durable_file import make_folder, write_whole
from vmkiln.store.rows import PrincipalRow

ALGORITHM = "RS256"
LEEWAY_SECONDS = 60


@dataclass(frozen=True)
class Issuer:
    """The tenant, the key in PEM, and the key's id."""

    tenant_id: str
    private_key: rsa.RSAPrivateKey
    key_id: str

    @property
    def issuer(self) -> str:
        """The `iss` of its tokens; Azurite and the SDKs know the shape."""
        return f"https://sts.windows.net/{self.tenant_id}/"

    def token(
        self, principal: PrincipalRow, *, audience: str, now: datetime, lasts_seconds: int, identity_id: str = ""
    ) -> str:
        """An access token for a principal, or for the managed identity of this id."""
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
        if identity_id:
            claims["xms_mirid"] = identity_id
        return jwt.encode(claims, self.private_key, algorithm=ALGORITHM, headers={"kid": self.key_id})

    def claims(self, token: str, *, now: datetime) -> Mapping[str, Any]:
        """What one of its own tokens says; the audience is for the caller to check.

        Raises: `jwt.InvalidTokenError` for a token that is not its own, is over, or was changed.
        """
        found = jwt.decode(
            token,
            self.private_key.public_key(),
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
        """The public key as a JWK set."""
        numbers = self.private_key.public_key().public_numbers()
        key = {
            "kty": "RSA",
            "use": "sig",
            "alg": ALGORITHM,
            "kid": self.key_id,
            "n": _base64(numbers.n),
            "e": _base64(numbers.e),
            "issuer": self.issuer,
        }
        return {"keys": [key]}


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
    """The issuer with this key; the key's id is derived from it."""
    key = serialization.load_pem_private_key(key_text, password=None)
    assert isinstance(key, rsa.RSAPrivateKey)  # new_key makes no other
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return Issuer(tenant_id, key, hashlib.sha256(public).hexdigest()[:32])


def ensure_issuer(directory: Path) -> Issuer:
    """The issuer kept in `directory`, made when it is missing. One service at a time asks."""
    make_folder(directory)
    key_file, tenant_file = directory / "signing-key.pem", directory / "tenant"
    if not key_file.exists():
        write_whole(key_file, new_key())
    if not tenant_file.exists():
        write_whole(tenant_file, f"{uuid.uuid4()}\n".encode())
    return issuer_of(tenant_file.read_text().strip(), key_file.read_bytes())
