"""An issuer of tokens that somebody else runs, such as Entra ID: its keys are fetched, its tokens checked.

Source: OpenID Connect Discovery 1.0; RFC 7517; RFC 8725 (algorithms are ours to choose, never the token's).
"""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx
import jwt

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "ES256", "ES384")
REFRESH_SECONDS = 3600.0
LEAST_PAUSE_SECONDS = 30.0  # an unknown key id makes us ask again, but not at every request
FETCH_SECONDS = 10.0
LEEWAY_SECONDS = 60
Fetch = Callable[[str], Any]


def fetch_json(url: str) -> Any:
    """What a URL answers, as JSON. Raises: `httpx.HTTPError`, `ValueError`."""
    response = httpx.get(url, timeout=FETCH_SECONDS, follow_redirects=False)
    response.raise_for_status()
    return response.json()


class OutsideIssuer:
    """Tokens of `issuer` (exactly as its discovery document spells it) for `audience`."""

    def __init__(self, issuer: str, audience: str, *, fetch: Fetch = fetch_json) -> None:
        self.issuer = issuer
        self.audience = audience
        self._fetch = fetch
        self._lock = threading.Lock()
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched = float("-inf")

    def claims(self, token: str) -> Mapping[str, Any]:
        """What a token says. Raises: `jwt.InvalidTokenError`, also when the keys cannot be had."""
        key = self._key(str(jwt.get_unverified_header(token).get("kid", "")))
        found: dict[str, Any] = jwt.decode(
            token,
            key.key,
            algorithms=[name for name in ALGORITHMS if name == key.algorithm_name],
            issuer=self.issuer,
            audience=self.audience,
            leeway=LEEWAY_SECONDS,
            options={"require": ["aud", "iss", "exp", "sub"]},
        )
        return found

    def _key(self, key_id: str) -> jwt.PyJWK:
        with self._lock:
            age = time.monotonic() - self._fetched
            if age > REFRESH_SECONDS or (key_id not in self._keys and age > LEAST_PAUSE_SECONDS):
                self._refresh()
            if key_id not in self._keys:
                raise jwt.InvalidTokenError("the token's key is not one of its issuer's")
            return self._keys[key_id]

    def _refresh(self) -> None:
        self._fetched = time.monotonic()
        try:
            document = self._fetch(f"{self.issuer.rstrip('/')}/.well-known/openid-configuration")
            if document["issuer"] != self.issuer:
                raise jwt.InvalidTokenError(f"the issuer calls itself {document['issuer']}")
            keys = self._fetch(document["jwks_uri"])["keys"]
            self._keys = {
                str(key["kid"]): jwt.PyJWK(key) for key in keys if key.get("kid") and key.get("use", "sig") == "sig"
            }
        except (httpx.HTTPError, ValueError, KeyError, TypeError, jwt.PyJWKError) as error:
            raise jwt.InvalidTokenError(f"the keys of {self.issuer} cannot be had: {error}") from error
