"""The portal's sheet: what is read can be read, in both schemes."""

import re
from importlib.resources import files

import pytest

from vmkiln.portal.icons import ICONS, KIND_OF_STATE, kind_of_state
from vmkiln.portal.scheme import Scheme
from vmkiln.run_state import RunState

SHEET = (files("vmkiln.portal") / "static/portal.css").read_text()
ON = ("bg", "surface", "soft")
TEXT = ("text", "muted", "accent", "ok", "warn", "bad")
LEAST = 4.5  # WCAG 2.2, 1.4.3 (AA)


def tokens(place: int) -> dict[str, str]:
    """The sheet's colours: the first of each pair for light, the second for dark."""
    pairs = re.findall(r"--([\w-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\);", SHEET)
    return {pair[0]: pair[place] for pair in pairs}


LIGHT, DARK = tokens(1), tokens(2)


def luminance(colour: str) -> float:
    """WCAG 2.2, "relative luminance"."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", [LIGHT, DARK], ids=["light", "dark"])
def test_every_text_can_be_read_on_every_ground(scheme: dict[str, str]) -> None:
    pairs = [(text, ground) for text in TEXT for ground in ON] + [("on-accent", "accent")]
    faint = {pair: found for pair in pairs if (found := contrast(scheme[pair[0]], scheme[pair[1]])) < LEAST}
    assert faint == {}


def test_a_choice_of_colours_is_one_that_the_sheet_knows() -> None:
    chosen = set(re.findall(r":root\[data-scheme=(\w+)\] \{ color-scheme: (\w+); \}", SHEET))
    assert chosen == {(word, word) for word in Scheme if word is not Scheme.SYSTEM}
    assert "prefers-color-scheme" not in SHEET, "what is chosen would not reach it"


def test_a_state_has_a_colour_of_the_sheet_and_an_icon() -> None:
    for kind, icon in KIND_OF_STATE.values():
        assert (kind in LIGHT, icon in ICONS) == (True, True)
    known = {state.lower() for state in RunState}
    assert known <= set(KIND_OF_STATE), "every state of a run"
    assert kind_of_state("never seen") == ("muted", "unknown")


def test_every_token_that_a_sheet_uses_is_there() -> None:
    """A line whose colour is no token is not drawn, and nothing else tells."""
    declared = set(re.findall(r"(--[\w-]+):", SHEET))
    sheets = [file for file in (files("vmkiln.portal") / "static").iterdir() if file.name.endswith(".css")]
    assert len(sheets) > 3
    for sheet in sheets:
        text = sheet.read_text()
        used = set(re.findall(r"var\((--[\w-]+)", text))
        assert used - declared - set(re.findall(r"(--[\w-]+):", text)) == set(), sheet.name
