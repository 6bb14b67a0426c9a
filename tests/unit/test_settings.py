"""Settings: what the environment says, and where state lives."""

from pathlib import Path

import pytest

from vmkiln.errors import InputError
from vmkiln.settings import settings_from

ISSUER = {"VMKILN_OIDC_ISSUER": "https://login.example.org/t/v2.0", "VMKILN_OIDC_AUDIENCE": "api://vmkiln"}


@pytest.mark.parametrize(
    ("environment", "home"),
    [
        ({"VMKILN_HOME": "/srv/vmkiln", "XDG_STATE_HOME": "/x"}, "/srv/vmkiln"),
        ({"XDG_STATE_HOME": "/x", "HOME": "/home/u"}, "/x/vmkiln"),
        ({"HOME": "/home/u"}, "/home/u/.local/state/vmkiln"),
    ],
)
def test_the_state_directory_follows_the_environment(environment: dict[str, str], home: str) -> None:
    assert settings_from(environment).home == Path(home)


def test_an_outside_issuer_needs_its_audience() -> None:
    assert settings_from({"VMKILN_HOME": "/v", **ISSUER}).oidc == tuple(ISSUER.values())
    assert settings_from({"VMKILN_HOME": "/v"}).oidc is None
    for name, value in ISSUER.items():
        with pytest.raises(InputError, match="go together"):
            settings_from({name: value})
