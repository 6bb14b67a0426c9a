"""A log as the portal shows it: lines without their prefix, colours as classes, groups by step; pure.

Nothing of a guest's text is markup here: a line is told as pieces of harmless text, each with classes of ours.
Source: ECMA-48, section 8.3.117 (SGR).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from vmkiln.harmless_text import harmless
from vmkiln.portal.waterfall import moment
from vmkiln.run_state import LIVE_STATES, Phase, RunState

MOST_LINE_LETTERS = 2000  # of a line in the view; the stored log has all
MOST_PIECES = 100  # of a line
CUT = " ... (the stored log has all of it)"
PREFIX = re.compile(r"\[[0-9a-fA-F-]{1,64}\] PACKER (?P<kind>OUT|ERR) ")
NAMES = ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")
FLAGS = {1: "bold", 2: "dim", 3: "italic", 4: "underline"}
OFF = {22: {"bold", "dim"}, 23: {"italic"}, 24: {"underline"}}
_COLOUR = re.compile(r"\x1b\[([0-9;:]*)m")
PHASE_OF = {"customization": Phase.CUSTOMIZING, "validation": Phase.VALIDATING}
ANCHORS = {"customization": "L", "validation": "V"}
BEFORE_STEPS = {"customization": "Boot and login", "validation": "Boot and login of the validation VM"}


@dataclass(frozen=True)
class Piece:
    """Text of one look: classes such as `ansi-red bold`, '' for none."""

    text: str
    classes: str = ""


@dataclass(frozen=True)
class Line:
    """A line: its number from 1, when it came (seconds since 1970, None if not known), whether it is of stderr."""

    number: int
    time: float | None
    is_error: bool
    pieces: tuple[Piece, ...]

    @property
    def text(self) -> str:
        """What it says."""
        return "".join(piece.text for piece in self.pieces)

    def data(self) -> list[Any]:
        """The line as the page's scripts take it: [number, time, is stderr, pieces]."""
        pieces = [piece.text if not piece.classes else [piece.text, piece.classes] for piece in self.pieces]
        return [self.number, self.time, self.is_error, pieces]


@dataclass(frozen=True)
class Group:
    """Lines of one step: its state is ok, live, failed, or over (cancelled, or not told)."""

    key: str
    kind: str
    name: str
    state: str
    first_line: int
    lines: int
    errors: int
    began: float | None
    seconds: float | None
    is_open: bool

    @property
    def last_line(self) -> int:
        """The number of its last line."""
        return self.first_line + self.lines - 1

    def data(self) -> dict[str, Any]:
        """The group as the page's scripts take it."""
        return asdict(self)


def line_of(number: int, text: str, time: float | None) -> Line:
    """A stored line as it is shown; pure."""
    prefix = PREFIX.match(text)
    shown = text[prefix.end() :] if prefix else text
    is_cut = len(shown) > MOST_LINE_LETTERS
    pieces = tuple(_pieces(shown[:MOST_LINE_LETTERS] if is_cut else shown))
    return Line(number, time, bool(prefix and prefix["kind"] == "ERR"), (*pieces, Piece(CUT)) if is_cut else pieces)


def lines_of(answer: Mapping[str, Any], first: int) -> list[Line]:
    """The lines of the API's answer, the first of which has this number; pure."""
    times = answer.get("times") or [None] * len(answer["lines"])
    return [
        line_of(first + index, text, seconds_of(time["time"]) if time else None)
        for index, (text, time) in enumerate(zip(answer["lines"], times, strict=True))
    ]


def seconds_of(text: str | None) -> float | None:
    """A time of the API in seconds since 1970; pure."""
    found: datetime | None = moment(text)
    return None if found is None else round(found.timestamp(), 3)


def _pieces(text: str) -> Iterator[Piece]:
    if "\x1b" not in text:
        yield Piece(harmless(text))
        return
    parts, looks = _COLOUR.split(text), set[str]()
    shown = 2 * MOST_PIECES - 2  # and the rest without looks
    for index, part in enumerate(parts[:shown]):
        if index % 2:
            looks = _changed(looks, part)
        elif part:
            yield Piece(harmless(part), " ".join(sorted(looks)))
    if rest := "".join(parts[shown::2]):
        yield Piece(harmless(rest))


def _changed(looks: set[str], codes: str) -> set[str]:
    """The classes after a sequence; colours beyond the sixteen are passed over."""
    found = set(looks)
    numbers = [int(code) if code.isdecimal() and len(code) < 4 else -1 for code in re.split("[;:]", codes or "0")]
    while numbers:
        number = numbers.pop(0)
        if number == 0:
            found = set()
        elif number in FLAGS:
            found.add(FLAGS[number])
        elif number in OFF:
            found -= OFF[number]
        elif number in {38, 48}:  # of 256 colours (5;n) or of all (2;r;g;b)
            numbers = numbers[2:] if numbers[:1] == [5] else numbers[4:]
        elif 30 <= number <= 39 or 90 <= number <= 97:
            found = {look for look in found if not look.startswith("ansi-")}
            if number != 39:
                found.add(f"ansi-{'bright-' if number >= 90 else ''}{NAMES[number % 10]}")
    return found


def groups_of(
    kind: str, outline: Mapping[str, Any], run: Mapping[str, Any], *, chosen: int | None = None
) -> list[Group]:
    """The groups of a log with the state of each; `chosen` is the line whose group is open. Pure.

    While a run works on a log its last group is live; of a run that failed in its phase, the last one has failed. A
    failed validation has, too, where the run goes on to distribute all the same.
    """
    state, here = str(run["runState"]), PHASE_OF[kind]
    names = [str(phase["name"]) for phase in run["phases"] if phase["name"] != Phase.CLEANING_UP]
    is_last_phase = bool(names) and names[-1] == here
    found = []
    for index, item in enumerate(outline["value"]):
        is_last = index == len(outline["value"]) - 1
        how = "ok"
        if is_last and is_last_phase and state in LIVE_STATES:
            how = "live"
        elif is_last and is_last_phase and state == RunState.FAILED:
            how = "failed"
        elif is_last and is_last_phase and state == RunState.CANCELED:
            how = "over"
        elif is_last and here == Phase.VALIDATING and run.get("hasFailedValidation"):
            how = "failed"
        first, lines = int(item["firstLine"]), int(item["lines"])
        began, ended = seconds_of(item["startTime"]), seconds_of(item["endTime"])
        is_chosen = chosen is not None and first <= chosen < first + lines
        found.append(
            Group(
                key=f"{kind}-{index}",
                kind=kind,
                name=harmless(str(item["step"])) or BEFORE_STEPS[kind],
                state=how,
                first_line=first,
                lines=lines,
                errors=int(item["errorLines"]),
                began=began,
                seconds=None if began is None or ended is None or how == "live" else max(0.0, ended - began),
                is_open=is_chosen or (chosen is None and how in {"live", "failed"}),
            )
        )
    return found
