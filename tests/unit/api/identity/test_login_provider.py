"""What the issuer at which people log in names is asked over TLS, or on this machine, and nowhere else."""

import pytest

from vmkiln.api.identity.login_provider import LoginProvider, ProviderAway

ISSUER = "https://login.example.com"


@pytest.mark.parametrize("name", ["authorization_endpoint", "jwks_uri"])
@pytest.mark.parametrize("place", ["http://login.example.com/x", "ftp://login.example.com/x", "https:///x", ["x"]])
def test_what_an_issuer_names_without_tls_is_not_asked(name: str, place: object) -> None:
    asked: list[str] = []
    document = {
        "issuer": ISSUER,
        "authorization_endpoint": f"{ISSUER}/authorize",
        "token_endpoint": f"{ISSUER}/token",
        "jwks_uri": f"{ISSUER}/keys",
        name: place,
    }

    def fetch(place: str) -> object:
        asked.append(place)
        return document if place.endswith("openid-configuration") else {"keys": []}

    provider = LoginProvider(ISSUER, "vmkiln", fetch=fetch, send=lambda *_: (500, None))
    with pytest.raises(ProviderAway, match="https"):
        provider.address(redirect_uri="https://vmkiln.example/back", state="s", nonce="n", challenge="c")
    assert place not in asked
