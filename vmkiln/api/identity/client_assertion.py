"""Proof of a principal without a secret: a token signed by its certificate, or one of an issuer that it trusts.

The first is what `az login --certificate` and the SDKs' certificate credentials send; the second what GitHub's and
Azure DevOps' workflows send, with the token that their own issuer gave them (workload identity federation).
Source: RFC 7523; RFC 7519; RFC 8725 (algorithms are ours to choose); Microsoft's AADSTS error codes.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from vmkiln.api.identity.outside_issuer import Issuers, KeysNotHad
from vmkiln.errors import InputError

KIND = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
MOST_ASSERTION_LETTERS = 16 * 1024
MOST_TEXT_LETTERS = 600  # of a credential's issuer, subject, or an audience; as in Entra ID
MOST_AUDIENCES = 20
LEAST_RSA_BITS = 2048
LEEWAY_SECONDS = 60
RSA_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256")
EC_ALGORITHMS = ("ES256", "ES384")
USUAL_AUDIENCE = "api://AzureADTokenExchange"  # what workflows ask their issuer for
TOKEN_PATHS = ("/oauth2/token", "/oauth2/v2.0/token")


class NotProven(Exception):
    """An assertion that proves nothing; `code` is Microsoft's number for why."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


@dataclass(frozen=True)
class Certificate:
    """A certificate of a principal: PEM, its SHA-1 and SHA-256 in hex, and its end."""

    pem: str
    sha1: str
    sha256: str
    ends: datetime


@dataclass(frozen=True)
class FederatedCredential:
    """Tokens of `issuer` for `subject` and one of `audiences` prove the principal."""

    issuer: str
    subject: str
    audiences: tuple[str, ...]


def read_certificate(text: bytes) -> Certificate:
    """The first certificate of a PEM file, whatever else is in it. Raises: `InputError`."""
    try:
        found = x509.load_pem_x509_certificate(text)
    except ValueError as error:
        hint = "a file that begins with -----BEGIN CERTIFICATE-----"
        raise InputError("it is not a certificate in PEM", hint=hint) from error
    key = found.public_key()
    is_good = isinstance(key, ec.EllipticCurvePublicKey) or (
        isinstance(key, rsa.RSAPublicKey) and key.key_size >= LEAST_RSA_BITS
    )
    if not is_good:
        raise InputError(f"its key is neither RSA of at least {LEAST_RSA_BITS} bits nor an elliptic curve")
    sha1 = found.fingerprint(hashes.SHA1()).hex()  # noqa: S303 (a name that clients send, no proof)
    pem = found.public_bytes(Encoding.PEM).decode()
    return Certificate(pem, sha1, found.fingerprint(hashes.SHA256()).hex(), found.not_valid_after_utc)


def credential_mistakes(given: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is wrong with `issuer`, `subject` and `audiences`: the member, and why; pure."""
    found = []
    issuer, subject, audiences = (given.get(name) for name in ("issuer", "subject", "audiences"))
    if not isinstance(issuer, str) or not _is_issuer(issuer):
        found.append(("issuer", "must be a URL that begins with https://, without query and fragment"))
    if not _is_text(subject):
        found.append(("subject", f"must be a string of 1 to {MOST_TEXT_LETTERS} letters"))
    if not isinstance(audiences, list) or not 0 < len(audiences) <= MOST_AUDIENCES or not all(map(_is_text, audiences)):
        found.append(("audiences", f"must be an array of 1 to {MOST_AUDIENCES} strings, such as {USUAL_AUDIENCE}"))
    return found


def _is_text(given: Any) -> bool:
    return isinstance(given, str) and 0 < len(given) <= MOST_TEXT_LETTERS


def _is_issuer(url: str) -> bool:
    parts = urlsplit(url)
    is_local = parts.scheme == "http" and parts.hostname in {"localhost", "127.0.0.1", "::1"}
    return (
        len(url) <= MOST_TEXT_LETTERS
        and (parts.scheme == "https" or is_local)
        and bool(parts.hostname)
        and not (parts.query or parts.fragment or parts.username)
    )


def unproven(assertion: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Header and claims as they stand, before anything is proven. Raises: `NotProven`."""
    if len(assertion) > MOST_ASSERTION_LETTERS:
        raise NotProven(50027, f"JWT token is invalid or malformed: more than {MOST_ASSERTION_LETTERS} letters.")
    try:
        header = jwt.get_unverified_header(assertion)
        claims = jwt.decode(assertion, options={"verify_signature": False})
    except (jwt.InvalidTokenError, ValueError, TypeError, RecursionError):
        raise NotProven(50027, "JWT token is invalid or malformed.") from None
    return header, claims


def check_certificate(
    assertion: str, header: Mapping[str, Any], known: Sequence[Certificate], *, app_id: str, own: Any, now: datetime
) -> None:
    """Whether one of these certificates signed an assertion for us; `own` tells whether a host is ours.

    Raises: `NotProven`.
    """
    thumbprint = _hex(header.get("x5t#S256")) or _hex(header.get("x5t"))
    matching = [item for item in known if thumbprint and thumbprint in {item.sha1, item.sha256}]
    if not matching:
        hint = "" if known else " This application has no certificate."
        raise NotProven(
            700027,
            f"The certificate with identifier used to sign the client assertion is not registered on application "
            f"'{app_id}'. [Reason - The key was not found., Thumbprint of key used by client: "
            f"'{thumbprint.upper()[:64]}']{hint} `vmkiln principal certificate` registers one.",
        )
    if matching[0].ends <= now:
        raise NotProven(700027, f"The certificate used to sign the client assertion ended on {matching[0].ends}.")
    key = x509.load_pem_x509_certificate(matching[0].pem.encode()).public_key()
    algorithms = EC_ALGORITHMS if isinstance(key, ec.EllipticCurvePublicKey) else RSA_ALGORITHMS
    options = {"require": ["aud", "iss", "exp", "sub"], "verify_aud": False, "verify_exp": False, "verify_nbf": False}
    try:
        claims = jwt.decode(assertion, key, algorithms=list(algorithms), options=options)  # type: ignore[arg-type]
    except jwt.InvalidTokenError as error:
        raise NotProven(700027, f"Client assertion failed signature validation. [Reason - {error}]") from None
    _check_times(claims, now)
    for audience in claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]:
        parts = urlsplit(str(audience))
        if own(parts.hostname or "") and parts.path.endswith(TOKEN_PATHS):
            return
    raise NotProven(
        700023, "Client assertion audience claim does not match Realm issuer: it is the token endpoint's URL."
    )


def _check_times(claims: Mapping[str, Any], now: datetime) -> None:
    try:
        begins, ends = float(claims.get("nbf", 0)), float(claims["exp"])
    except (TypeError, ValueError):
        raise NotProven(50027, "JWT token is invalid or malformed: exp and nbf are numbers.") from None
    moment = now.timestamp()
    if not begins - LEEWAY_SECONDS <= moment <= ends + LEEWAY_SECONDS:
        text = f"Client assertion is not within its valid time range. Current time: {now.astimezone(UTC).isoformat()}."
        raise NotProven(700024, text)


def check_federated(
    assertion: str, claims: Mapping[str, Any], known: Sequence[FederatedCredential], issuers: Issuers
) -> None:
    """Whether an assertion is of an issuer, subject and audience that are trusted. Raises: `NotProven`."""
    issuer, subject = str(claims.get("iss", "")), str(claims.get("sub", ""))
    given = claims.get("aud", "")
    audiences = [str(item) for item in given] if isinstance(given, list) else [str(given)]
    told = f"Assertion Issuer: '{issuer[:300]}'. Assertion Subject: '{subject[:300]}'. Assertion Audience: "
    told += f"'{', '.join(audiences)[:300]}'."
    of_issuer = [item for item in known if item.issuer == issuer]
    of_subject = [item for item in of_issuer if item.subject == subject]
    matching = [item for item in of_subject if set(item.audiences) & set(audiences)]
    if not known:
        hint = "`vmkiln principal federate` or `az identity federated-credential create` registers one."
        raise NotProven(70021, f"No federated identity credential is registered for this application. {told} {hint}")
    if not of_issuer:
        raise NotProven(700211, f"No matching federated identity record found for presented assertion issuer. {told}")
    if not of_subject:
        raise NotProven(700213, f"No matching federated identity record found for presented assertion subject. {told}")
    if not matching:
        text = "No matching federated identity record found for presented assertion audience."
        raise NotProven(700212, f"{text} {told}")
    wanted = [audience for item in matching for audience in item.audiences]
    try:
        issuers.claims(assertion, issuer=issuer, audiences=wanted)
    except KeysNotHad:  # why stands in the log: it tells of the network that the service is in
        text = f"Request to External OIDC endpoint failed: the keys of '{issuer[:300]}' cannot be had."
        raise NotProven(50166, text) from None
    except jwt.ExpiredSignatureError:
        raise NotProven(700024, "Client assertion is not within its valid time range.") from None
    except (jwt.InvalidTokenError, ValueError, TypeError):
        raise NotProven(50013, "Assertion failed signature validation.") from None


def _hex(text: Any) -> str:
    """What a header has in base64url, in hex; '' for nothing and for what is none."""
    if not isinstance(text, str) or len(text) > 100:
        return ""
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).hex()
    except ValueError:
        return ""
