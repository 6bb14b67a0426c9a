"""Issuers that callers name are remembered, so many of them, and so many keys of each."""

from typing import Any

import pytest

from vmkiln.api.identity import outside_issuer
from vmkiln.api.identity.issuer import issuer_of, new_key
from vmkiln.api.identity.outside_issuer import Issuers, OutsideIssuer


def test_the_issuer_that_was_asked_longest_ago_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outside_issuer, "MOST_ISSUERS", 2)
    monkeypatch.setattr(OutsideIssuer, "claims", lambda *_arguments, **_named: {})
    issuers = Issuers()
    for name in ("a", "b", "a", "c"):
        issuers.claims("token", issuer=f"https://{name}.example", audiences=["x"])
    assert list(issuers._known) == ["https://a.example", "https://c.example"]


def test_of_many_keys_of_an_issuer_the_first_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outside_issuer, "MOST_KEYS", 3)
    [key] = issuer_of("t", new_key()).key_set()["keys"]

    def fetch(url: str) -> Any:
        if url.endswith("openid-configuration"):
            return {"issuer": "https://a.example", "jwks_uri": "https://a.example/keys"}
        return {"keys": [{**key, "kid": str(number)} for number in range(10)]}

    issuer = OutsideIssuer("https://a.example", "x", fetch=fetch)
    assert issuer.document()["issuer"] == "https://a.example"
    assert list(issuer._keys) == ["0", "1", "2"]
