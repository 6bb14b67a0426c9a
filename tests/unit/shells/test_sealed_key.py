"""The key of a failed VM is read by the visitor for whom it was sealed, and by nobody on the way."""

import pytest

from vmkiln.shells.sealed_key import VisitorKey, checked, sealed_for

KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n-----END OPENSSH PRIVATE KEY-----\n"


def test_only_the_visitor_opens_what_was_sealed_for_them() -> None:
    visitor, other = VisitorKey(), VisitorKey()
    first, second = sealed_for(visitor.public, KEY), sealed_for(visitor.public, KEY)
    assert visitor.opened(first) == visitor.opened(second) == KEY
    assert first != second
    assert "OPENSSH" not in first
    with pytest.raises(ValueError, match="for somebody else"):
        other.opened(first)


def test_what_was_changed_on_the_way_is_not_opened() -> None:
    visitor = VisitorKey()
    sealed = sealed_for(visitor.public, KEY)
    for place in (0, 50, len(sealed) // 2):
        letter = "A" if sealed[place] != "A" else "B"
        with pytest.raises(ValueError, match=r"somebody else|shared key|X25519"):
            visitor.opened(sealed[:place] + letter + sealed[place + 1 :])


@pytest.mark.parametrize("text", ["", "x", "AAAA", "é" * 44, "A" * 43 + "=" + "A" * 4, "A" * 100_000])
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"32 bytes|no base64url|too long"):
        checked(text)


def test_a_key_that_gives_no_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="shared key"):
        sealed_for("A" * 43 + "=", KEY)  # the point at zero: everybody would know the secret
