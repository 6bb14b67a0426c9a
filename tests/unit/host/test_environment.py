"""Which variables a program gets: those on a list, and no other."""

import os

import pytest

from vmkiln.host.command import run
from vmkiln.host.environment import for_fetching, for_npm, ordinary, proxied

OURS = {
    "PATH": "/usr/bin",
    "HOME": "/home/a",
    "LC_ALL": "C",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "VMKILN_DATABASE_URL": "postgresql://user:secret@host/d",
    "HTTPS_PROXY": "http://proxy:3128",
    "SSL_CERT_FILE": "/etc/ca.pem",
    "npm_config_registry": "https://registry.test",
}


def test_a_program_gets_nothing_that_is_not_on_the_list() -> None:
    assert ordinary(OURS) == {"PATH": "/usr/bin", "HOME": "/home/a", "LC_ALL": "C"}


def test_who_fetches_knows_proxies_and_certificates_too() -> None:
    fetching = for_fetching(OURS)
    assert set(fetching) == {*ordinary(OURS), "HTTPS_PROXY", "SSL_CERT_FILE"}
    assert set(proxied(OURS)) == {"HTTPS_PROXY", "SSL_CERT_FILE"}


def test_the_settings_of_npm_which_may_be_tokens_are_for_npm_alone() -> None:
    assert set(for_npm(OURS)) == {*for_fetching(OURS), "npm_config_registry"}


async def test_no_secret_of_ours_is_in_the_environment_of_a_program(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in OURS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", os.defpath)
    assert "secret" not in (await run(["env"], timeout_seconds=20)).text
