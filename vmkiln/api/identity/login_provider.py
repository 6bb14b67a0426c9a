"""People who log in at an issuer that somebody else runs: the authorization code flow with PKCE, and what it proves.

What an ID token says besides issuer and subject gives nobody a right, and is not kept.
Source: OpenID Connect Core 1.0, sections 3.1.2.1, 3.1.3 and 3.1.3.7; RFC 7636 (S256); RFC 6749, section 2.3.1.
"""

import base64
import hmac
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import httpx
import jwt

from vmkiln.api.identity.outside_issuer import Fetch, KeysNotHad, OutsideIssuer
from vmkiln.errors import InputError

SCOPE = "openid profile"
MOST_ID_TOKEN_LETTERS = 64 * 1024
MOST_SECRET_BYTES = 4096
MOST_WORD_LETTERS = 100
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
Send = Callable[[str, Mapping[str, str], Mapping[str, str]], tuple[int, Any]]  # address, form, headers


class LoginRefused(Exception):
    """The issuer gave nobody, or what it gave proves nobody; `str` says why, in words for whoever wants to log in."""


class ProviderAway(Exception):
    """The issuer cannot be asked; `str` says why, in words for the log."""


class LoginProvider:
    """The issuer at which people log in, where this service is `client_id`.

    Its secret is read from a file whenever it is needed; without one the service is a public client. `fetch` gets a
    document, `send` posts a form; both wait.
    """

    def __init__(
        self, issuer: str, client_id: str, secret_file: Path | None = None, *, fetch: Fetch, send: Send
    ) -> None:
        self.issuer = issuer
        self.client_id = client_id
        self._secret_file = secret_file
        self._outside = OutsideIssuer(issuer, client_id, fetch=lambda place: fetch(_safe(place)))
        self._send = send

    @property
    def name(self) -> str:
        """What people know it by: its host."""
        return urlsplit(self.issuer).netloc

    def address(self, *, redirect_uri: str, state: str, nonce: str, challenge: str) -> str:
        """Where a browser logs in. `challenge` is the base64url of the verifier's SHA-256. Raises: `ProviderAway`."""
        asked = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": redirect_uri,
            "scope": SCOPE,
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        place = self._endpoint("authorization_endpoint")
        return f"{place}{'&' if '?' in place else '?'}{urlencode(asked)}"

    def proven(self, code: str, *, verifier: str, nonce: str, redirect_uri: str) -> Mapping[str, Any]:
        """The claims of the ID token that a code is good for. Raises: `LoginRefused`, `ProviderAway`."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "client_id": self.client_id,
            "code_verifier": verifier,
        }
        place = self._endpoint("token_endpoint")
        headers = self._authentication(form)
        try:
            status, found = self._send(place, form, headers)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise ProviderAway(f"the token endpoint of {self.issuer} cannot be asked: {error}") from error
        if status >= 500:
            raise ProviderAway(f"the token endpoint of {self.issuer} answered {status}")
        token = found.get("id_token") if isinstance(found, dict) else None
        if status != 200 or not isinstance(token, str) or len(token) > MOST_ID_TOKEN_LETTERS:
            why = found.get("error") if isinstance(found, dict) else None
            raise LoginRefused(f"{self.name} did not take the login: {str(why or status)[:MOST_WORD_LETTERS]}")
        return self._checked(token, nonce)

    def _checked(self, token: str, nonce: str) -> Mapping[str, Any]:
        try:
            claims = self._outside.claims(token)
        except KeysNotHad as error:
            raise ProviderAway(str(error)) from error
        except (jwt.InvalidTokenError, ValueError, TypeError, RecursionError):
            raise LoginRefused(f"what {self.name} gave is no ID token for this service, or is over") from None
        if not hmac.compare_digest(str(claims.get("nonce", "")).encode(errors="replace"), nonce.encode()):
            raise LoginRefused(f"what {self.name} gave is of another login")
        audience = claims["aud"]
        is_shared = isinstance(audience, list) and len(audience) > 1
        if claims.get("azp", None if is_shared else self.client_id) != self.client_id:
            raise LoginRefused(f"what {self.name} gave was made for another service")
        return claims

    def _endpoint(self, name: str) -> str:
        """An address of the discovery document, over TLS or on this machine. Raises: `ProviderAway`."""
        try:
            return _safe(self._document().get(name, ""))
        except ValueError as error:
            raise ProviderAway(f"{self.issuer} names no {name} with https") from error

    def _document(self) -> Mapping[str, Any]:
        try:
            return self._outside.document()
        except KeysNotHad as error:
            raise ProviderAway(str(error)) from error
        except jwt.InvalidTokenError as error:  # it calls itself otherwise
            raise ProviderAway(f"{self.issuer}: {error}") from error

    def _authentication(self, form: dict[str, str]) -> Mapping[str, str]:
        """How the service says who it is: a header, or one more field of the form; nothing without a secret."""
        if self._secret_file is None:
            return {}
        try:
            secret = read_secret(self._secret_file)
        except InputError as error:
            raise ProviderAway(str(error)) from error
        known = self._document().get("token_endpoint_auth_methods_supported")
        if isinstance(known, list) and "client_secret_post" in known and "client_secret_basic" not in known:
            form["client_secret"] = secret
            return {}
        both = f"{quote(self.client_id, safe='')}:{quote(secret, safe='')}"
        return {"Authorization": f"Basic {base64.b64encode(both.encode()).decode()}"}


def _safe(place: object) -> str:
    """An address that the issuer named, over TLS or on this machine; pure. Raises: `ValueError` for any other."""
    parts = urlsplit(str(place))
    is_here = parts.scheme == "http" and parts.hostname in LOOPBACK
    if not parts.hostname or parts.fragment or not (parts.scheme == "https" or is_here):
        raise ValueError(f"{str(place)[:MOST_WORD_LETTERS]!r} is no address with https")
    return str(place)


def read_secret(file: Path) -> str:
    """The secret in a file, without the space around it. Raises: `InputError`, without what it says."""
    try:
        with file.open("rb") as opened:
            content = opened.read(MOST_SECRET_BYTES + 1)
        secret = content.decode().strip()
    except OSError as error:
        raise InputError(f"login_client_secret_file: {file}: {error.strerror}") from error
    except UnicodeDecodeError:
        secret = ""
    if not secret or len(content) > MOST_SECRET_BYTES or not secret.isprintable():
        raise InputError(f"login_client_secret_file: {file} has no secret", hint="the client's secret on one line")
    return secret
