"""A log as the portal shows it."""

from typing import Any

import pytest

from vmkiln.portal.runs.log_view import CUT, MOST_LINE_LETTERS, MOST_PIECES, Group, Piece, groups_of, line_of
from vmkiln.portal.runs.shown_lines import window

RUN_ID = "0123abcd-0000-4000-8000-000000000000"


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("plain", [Piece("plain")]),
        ("\x1b[31mred\x1b[0m plain", [Piece("red", "ansi-red"), Piece(" plain")]),
        ("\x1b[1;92mok\x1b[39mbold", [Piece("ok", "ansi-bright-green bold"), Piece("bold", "bold")]),
        ("\x1b[38;5;196;4mline", [Piece("line", "underline")]),
        ("\x1b[48;2;1;2;3mno", [Piece("no")]),
        ("\x1b]0;title\x07<b>", [Piece("\\x1b]0;title\\x07<b>")]),
        ("\x1b[99999999999m\x1b[mx", [Piece("x")]),
    ],
)
def test_colours_become_classes_and_all_else_is_shown(text: str, pieces: list[Piece]) -> None:
    assert list(line_of(7, f"[{RUN_ID}] PACKER OUT {text}", None).pieces) == pieces


def test_a_line_loses_its_prefix_in_the_view_and_is_cut_when_it_is_long() -> None:
    line = line_of(7, f"[{RUN_ID}] PACKER ERR bad", 1.5)
    assert line.data() == [7, 1.5, True, ["bad"]]
    assert line_of(1, "of another program", None).data() == [1, None, False, ["of another program"]]
    long = line_of(1, "x" * 300_000, None).text
    assert long == "x" * MOST_LINE_LETTERS + CUT
    many = line_of(1, "\x1b[31ma\x1b[32mb" * 150, None)
    assert many.text == "ab" * 150
    assert len(many.pieces) <= MOST_PIECES


def outline(*steps: str) -> dict[str, Any]:
    item = {"lines": 10, "errorLines": 0, "startTime": "2026-01-01T00:00:00Z", "endTime": "2026-01-01T00:00:05Z"}
    return {"value": [{**item, "step": step, "firstLine": 1 + 10 * index} for index, step in enumerate(steps)]}


@pytest.mark.parametrize(
    ("state", "phases", "states"),
    [
        ("Running", ["Building", "Customizing"], ["ok", "ok", "live"]),
        ("Failed", ["Customizing", "CleaningUp"], ["ok", "ok", "failed"]),
        ("Canceled", ["Customizing", "CleaningUp"], ["ok", "ok", "over"]),
        ("Failed", ["Customizing", "Distributing", "CleaningUp"], ["ok", "ok", "ok"]),
        ("Succeeded", ["Customizing", "CleaningUp"], ["ok", "ok", "ok"]),
    ],
)
def test_a_group_is_what_became_of_its_step(state: str, phases: list[str], states: list[str]) -> None:
    run = {"runState": state, "phases": [{"name": name} for name in phases]}
    found = groups_of("customization", outline("", "install", "configure"), run)
    assert [group.state for group in found] == states
    assert [group.is_open for group in found] == [name in {"live", "failed"} for name in states]
    assert (found[0].name, found[1].name, found[1].seconds) == ("Boot and login", "install", 5.0)
    chosen = groups_of("customization", outline("", "install"), run, chosen=12)
    assert [group.is_open for group in chosen] == [False, True]


@pytest.mark.parametrize("state", ["Running", "Failed", "Canceled"])
def test_a_validation_that_failed_is_marked_though_its_image_is_distributed(state: str) -> None:
    phases = [{"name": name} for name in ("Customizing", "Validating", "Distributing", "CleaningUp")]
    run = {"runState": state, "phases": phases, "hasFailedValidation": True}
    found = groups_of("validation", outline("", "look", "measure"), run)
    assert [group.state for group in found] == ["ok", "ok", "failed"]
    assert [group.state for group in groups_of("customization", outline("", "install"), run)] == ["ok", "ok"]


@pytest.mark.parametrize(
    ("state", "room", "chosen", "expected"),
    [
        ("live", 500, None, (99_502, 500)),
        ("ok", 500, None, (2, 500)),
        ("failed", 500, 50_000, (49_875, 500)),
        ("failed", 500, 100_000, (99_875, 127)),
        ("ok", 500, 1, (2, 500)),
        ("ok", 500, 3, (2, 500)),
    ],
)
def test_of_a_long_group_few_lines_are_shown(
    state: str, room: int, chosen: int | None, expected: tuple[int, int]
) -> None:
    group = Group("k", "customization", "n", state, 2, 100_000, 0, None, None, True)
    assert window(group, room, chosen) == expected
