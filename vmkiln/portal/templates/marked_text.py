"""The mistakes of a written template with their lines, and these lines as the form shows them; pure."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vmkiln.arm_template.json_places import Places
from vmkiln.portal.templates.template_face import shortened

MOST_LETTERS = 200  # of a line that is shown
AROUND = 1  # lines before and behind a marked one
_PLACED = re.compile(r"line (\d+), column (\d+)")


@dataclass(frozen=True)
class Line:
    """A line of the text, by its number from 1; `is_first` after others were left out before it."""

    number: int
    text: str
    is_marked: bool
    is_first: bool


def placed(places: Places, details: Sequence[Mapping[str, Any]], *, fields: Collection[str]) -> list[dict[str, Any]]:
    """The details of an error, each with `line` and `column` where its target names something in the text.

    `fields` are targets that are the form's own, and not in the text.
    """
    found: list[dict[str, Any]] = []
    for detail in details:
        target = str(detail.get("target") or "")
        if written := _PLACED.fullmatch(target):
            found.append({**detail, "line": int(written[1]), "column": int(written[2])})
        elif target not in fields and (place := places.of(target)):
            found.append({**detail, "line": place.line, "column": place.column})
        else:
            found.append(dict(detail))
    return found


def marked(text: str, details: Sequence[Mapping[str, Any]]) -> list[Line]:
    """The lines that the details name, each with its neighbours."""
    lines = text.split("\n")
    wrong = {detail["line"] for detail in details if 1 <= detail.get("line", 0) <= len(lines)}
    near = {number + step for number in wrong for step in range(-AROUND, AROUND + 1)}
    shown = sorted(number for number in near if 1 <= number <= len(lines))
    return [
        Line(
            number,
            shortened(lines[number - 1].rstrip("\r"), most=MOST_LETTERS),
            number in wrong,
            index > 0 and shown[index - 1] != number - 1,
        )
        for index, number in enumerate(shown)
    ]
