"""A client secret is one that every client takes on its command line."""

import pytest

from vmkiln.store import principal_table


def test_no_secret_begins_like_an_option(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter(["-first", "--second", "third-"])
    monkeypatch.setattr(principal_table.secrets, "token_urlsafe", lambda _bytes: next(drawn))
    assert principal_table.new_secret() == "third-"
