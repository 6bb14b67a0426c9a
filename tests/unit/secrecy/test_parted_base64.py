"""Base64 of a text with a secret in it, in lines, as programs write it: no line shows more than a few letters of it."""

import base64
import json
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmkiln.secrecy.encoded_forms import WRAPS
from vmkiln.secrecy.parted_base64 import LEAST_PARTED
from vmkiln.secrecy.secret_mask import LineMask, SecretMask

SECRET = "tr0ub4dor&3-correct-horse"
AROUND = "a text that is before it, "


def lines_of(text: str, wrap: int, encoding: str = "utf-8") -> list[str]:
    return textwrap.wrap(base64.b64encode(text.encode(encoding)).decode(), wrap)


def shown(lines: list[str], *secrets: str) -> list[str]:
    mask = LineMask(SecretMask.of(secrets or [SECRET]))
    return [mask(line) for line in lines]


def longest_shown(before: list[str], after: list[str], secret: str, place: int, encoding: str = "utf-8") -> int:
    """Letters in a row, of those that hold nothing but the secret, that are shown all the same."""
    size = len(secret.encode(encoding))
    first, last = -(-place * 8 // 6), (place + size) * 8 // 6
    inside = "".join(before)[first:last]
    text = "\n".join(after)
    return max(
        (end - start for start in range(len(inside)) for end in range(start + 1, len(inside) + 1)
         if inside[start:end] in text), default=0,
    )  # fmt: skip


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le"])
@pytest.mark.parametrize("place", range(0, 70, 3))
def test_a_secret_that_a_lines_end_parts_is_masked_in_both(wrap: int, encoding: str, place: int) -> None:
    text = (AROUND * 4)[:place] + SECRET + AROUND * 3
    lines = lines_of(text, wrap, encoding)
    found = shown(lines)
    place = len(text[:place].encode(encoding))
    assert longest_shown(lines, found, SECRET, place, encoding) < LEAST_PARTED
    assert len(found) == len(lines)


@given(st.text("abcDEF019+/=!", min_size=8, max_size=60), st.integers(0, 150), st.sampled_from(WRAPS))
def test_any_secret_at_any_place(secret: str, place: int, wrap: int) -> None:
    lines = lines_of("~" * place + secret + "~" * 70, wrap)
    assert longest_shown(lines, shown(lines, secret), secret, place) < LEAST_PARTED


def test_lines_behind_a_speaker_and_in_url_letters_are_masked_too() -> None:
    text = json.dumps({"some": "settings of a user's", "password": SECRET, "more": "x" * 50})
    encoded = base64.urlsafe_b64encode(text.encode()).decode()
    lines = [f"    null: {line}" for line in textwrap.wrap(encoded, 76)]
    found = shown(lines)
    assert all(line.startswith("    null: ") for line in found)
    assert sum("***" in line for line in found) == 2


def test_a_secret_over_three_lines_is_masked_in_each() -> None:
    secret = "".join(f"{number:04}" for number in range(40))
    lines = lines_of("~" * 40 + secret + "~" * 90, 76)
    assert longest_shown(lines, shown(lines, secret), secret, 40) < LEAST_PARTED


def test_what_is_no_secret_stays_as_it_is() -> None:
    lines = [*lines_of("nothing that anybody hides " * 20, 76), "plain words", "", "x" * 76, "y" * 76]
    assert shown(lines) == lines
    assert [LineMask(SecretMask())(line) for line in lines] == lines
