"""Guest text on a terminal: it can show itself, and nothing else."""

import unicodedata

import pytest
import tiers
from hypothesis import given, settings
from hypothesis import strategies as st

from vmkiln.harmless_text import harmless, without_marks

ATTACKS = [
    "\x1b]0;title\x07", "\x1b]2;title\x1b\\", "\x1b]52;c;aGVsbG8=\x07", "\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\",
    "\x1b[2J", "\x1b[H", "\x1b[1;1H", "\x1b[5A", "\x1b[K", "\x1b[?1049h", "\x1b[?25l", "\x1b[6n", "\x1b[c", "\x1b[>c",
    "\x1b[21t", "\x1b[18t", "\x1b[?1000h", "\x1b[?2004h", "\x1b[4h", "\x1b[20h", "\x1b[r", "\x1b[s", "\x1b[u",
    "\x1bc", "\x1b7", "\x1b8", "\x1bD", "\x1bM", "\x1bE", "\x1b(0", "\x1b)B", "\x1b#8", "\x1b=", "\x1b>", "\x1bZ",
    "\x1bP$q\"p\x1b\\", "\x1b_Gf=100;AAAA\x1b\\", "\x1b^private\x1b\\", "\x1bXstring\x1b\\", "\x9b2J", "\x9d0;t\x9c",
    "\x90q\x9c", "\x85", "\x84", "\x8d", "\x00", "\x07", "\x08\x08\x08", "\x0b", "\x0c", "\x0e", "\x0f", "\x7f",
    "\u202ereversed", "\u2066isolated\u2069", "\u200b", "\ufeff", "\u2028", "\x1b", "\x1b[", "\x1b]unfinished",
]  # fmt: skip


def is_plain(text: str) -> bool:
    return all(letter == "\t" or unicodedata.category(letter)[0] not in "CZ" or letter == " " for letter in text)


@pytest.mark.parametrize("attack", ATTACKS, ids=range(len(ATTACKS)))
def test_a_control_sequence_is_shown_and_not_obeyed(attack: str) -> None:
    shown = harmless(f"before{attack}after")
    assert "\x1b" not in shown
    assert is_plain(shown.replace("\u00a0", " "))
    assert shown.startswith("before")


@settings(max_examples=tiers.cheap_examples())
@given(st.text())
def test_nothing_that_a_terminal_obeys_is_left(text: str) -> None:
    for letter in harmless(text):
        assert letter == "\t" or unicodedata.category(letter) not in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


@settings(max_examples=tiers.cheap_examples())
@given(st.text(alphabet=st.characters(categories=["L", "N", "P", "S"], include_characters=" \t")))
def test_ordinary_text_is_not_changed(text: str) -> None:
    assert harmless(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("::error::a", "\\x3a:error::a"),
        ("a\n\u00a0 \t::stop-commands::b\nc", "a\n\u00a0 \t\\x3a:stop-commands::b\nc"),
        ("a\r::error::b", "a\r\\x3a:error::b"),
        ("\n\n::x", "\n\n\\x3a:x"),
        ("a ##[error]b ###[c]", "a #\\x23[error]b ##\\x23[c]"),
        (":a: std::string ## [x]\n: ::", ":a: std::string ## [x]\n: ::"),
    ],
)
def test_a_mark_of_a_ci_is_shown_and_not_obeyed(text: str, shown: str) -> None:
    assert without_marks(text) == shown


def test_colours_are_left_out() -> None:
    assert harmless("\x1b[31mred\x1b[0m") == "red"


def test_what_is_written_over_is_shown_beside_what_hides_it() -> None:
    assert harmless("visible\rOVERWRITTEN") == "visible\\rOVERWRITTEN"
    assert harmless("10 %\r50 %\r100 %") == "10 %\\r50 %\\r100 %"
    assert harmless("done\r") == harmless("done\r\r") == "done"
    assert harmless("a\x08\x08b") == "a\\x08\\x08b"
    assert harmless("a\x1b[1Gb\x1b[2Kc") == "a\\x1b[1Gb\\x1b[2Kc"
