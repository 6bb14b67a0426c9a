"""An issuer of tokens that somebody else runs, such as Entra ID: its keys are fetched, its tokens checked.

Source: OpenID Connect Discovery 1.0; RFC 7517; RFC 8725 (algorithms are ours to choose, never the token's).
"""

import contextlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import httpx
import jwt

from vmkiln.fetching.documents import fetch_json

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "ES256", "ES384")
REFRESH_SECONDS = 3600.0
LEAST_PAUSE_SECONDS = 30.0  # an unknown key id makes us ask again, but not at every request
LEEWAY_SECONDS = 60
MOST_ISSUERS = 32  # whose keys are remembered
MOST_KEYS = 100  # of one issuer
WAIT_SECONDS = 5.0
Fetch = Callable[[str], Any]


class KeysNotHad(jwt.InvalidTokenError):
    """The keys of an issuer could not be fetched, so nothing is known of a token of its."""


class OutsideIssuer:
    """Tokens of `issuer` (exactly as its discovery document spells it) for `audience`, or for one of several."""

    def __init__(self, issuer: str, audience: str | Sequence[str], *, fetch: Fetch = fetch_json) -> None:
        self.issuer = issuer
        self.audience = audience
        self._fetch = fetch
        self._lock = threading.Lock()
        self._keys: dict[str, jwt.PyJWK] = {}
        self._document: Mapping[str, Any] = {}
        self._fetched = float("-inf")
        self._failed = ""  # why the keys are not there

    def claims(self, token: str, *, audience: Sequence[str] = ()) -> Mapping[str, Any]:
        """What a token says; `audience` takes the place of the usual one.

        Raises: `jwt.InvalidTokenError`, and `KeysNotHad` when the keys cannot be had.
        """
        key = self._key(str(jwt.get_unverified_header(token).get("kid", "")))
        found: dict[str, Any] = jwt.decode(
            token,
            key.key,
            algorithms=[name for name in ALGORITHMS if name == key.algorithm_name],
            issuer=self.issuer,
            audience=audience or self.audience,
            leeway=LEEWAY_SECONDS,
            options={"require": ["aud", "iss", "exp", "sub"]},
        )
        return found

    def document(self) -> Mapping[str, Any]:
        """Its discovery document. Raises: as `claims`."""
        with self._alone():
            age = time.monotonic() - self._fetched
            if age > REFRESH_SECONDS or (not self._document and age > LEAST_PAUSE_SECONDS):
                self._refresh()
            if not self._document:
                raise KeysNotHad(self._failed)
            return self._document

    def _key(self, key_id: str) -> jwt.PyJWK:
        with self._alone():
            age = time.monotonic() - self._fetched
            if age > REFRESH_SECONDS or (key_id not in self._keys and age > LEAST_PAUSE_SECONDS):
                self._refresh()
            if key_id not in self._keys:
                if self._failed:
                    raise KeysNotHad(self._failed)
                raise jwt.InvalidTokenError("the token's key is not one of its issuer's")
            return self._keys[key_id]

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        if not self._lock.acquire(timeout=WAIT_SECONDS):  # who waits holds a thread that others want
            raise KeysNotHad(f"the keys of {self.issuer} are being fetched, and that takes long")
        try:
            yield
        finally:
            self._lock.release()

    def _refresh(self) -> None:
        self._fetched = time.monotonic()
        try:
            document = self._fetch(f"{self.issuer.rstrip('/')}/.well-known/openid-configuration")
            if document["issuer"] != self.issuer:
                self._failed = f"the issuer calls itself {document['issuer']}"
                raise jwt.InvalidTokenError(self._failed)
            keys = self._fetch(document["jwks_uri"])["keys"]
            self._keys = dict(_usable(keys[:MOST_KEYS]))
            self._document = document
            self._failed = ""
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError, AttributeError) as error:
            self._failed = f"the keys of {self.issuer} cannot be had: {error}"
            raise KeysNotHad(self._failed) from error


def _usable(keys: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, jwt.PyJWK]]:
    """The keys for signatures, by their ids; those of a kind that is not known are left out."""
    for key in keys:
        if key.get("kid") and key.get("use", "sig") == "sig":
            with contextlib.suppress(jwt.PyJWKError, jwt.InvalidKeyError):
                yield str(key["kid"]), jwt.PyJWK(dict(key))


class Issuers:
    """Issuers that federated credentials name, each with its keys; the longest unused one is forgotten."""

    def __init__(self, *, fetch: Fetch = fetch_json) -> None:
        self._fetch = fetch
        self._lock = threading.Lock()
        self._known: OrderedDict[str, OutsideIssuer] = OrderedDict()

    def claims(self, token: str, *, issuer: str, audiences: Sequence[str]) -> Mapping[str, Any]:
        """What a token of an issuer says. Raises: as `OutsideIssuer.claims`."""
        with self._lock:
            found = self._known.pop(issuer, None) or OutsideIssuer(issuer, "", fetch=self._fetch)
            self._known[issuer] = found
            while len(self._known) > MOST_ISSUERS:
                self._known.popitem(last=False)
        return found.claims(token, audience=audiences)
