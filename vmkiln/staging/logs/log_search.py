"""Lines of a log by their number, and those in which a text is, or that tell of an error: found in one reading.

A text is looked for in what a line says, without what stands before it and without colours; letters of ASCII in any
case.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from vmkiln.staging.customization_log import LogPart, lines_from
from vmkiln.staging.logs.log_outline import LogOutline

MOST_FOUND = 500
MOST_TEXT_LETTERS = 200
MOST_FOUND_BYTES = 512
PREFIX = re.compile(rb"\[[0-9a-fA-F-]{1,64}\] PACKER (?P<kind>OUT|ERR) ")
ERROR_WORDS = re.compile(
    rb"\b(?:errors?|failed|failure|fatal|cannot|unable to|not found|no such file|denied|refused|panic|traceback|E:)",
    re.IGNORECASE,
)
_COLOUR = re.compile(rb"\x1b\[[0-9;:]*m")


@dataclass(frozen=True)
class FoundLine:
    """A line in which something was found: its number from 1, where it begins in bytes, and its first bytes."""

    number: int
    position: int
    line: bytes


@dataclass(frozen=True)
class Search:
    """How many lines were found in all, and the first of them."""

    total: int
    found: tuple[FoundLine, ...]


def said(line: bytes) -> tuple[bytes, bool]:
    """What a line says, without its prefix, colours and line end, and whether it is of stderr; pure."""
    prefix = PREFIX.match(line)
    text = line[prefix.end() :] if prefix else line
    text = text.removesuffix(b"\n")
    return (_COLOUR.sub(b"", text) if b"\x1b" in text else text), bool(prefix and prefix["kind"] == b"ERR")


def of_error(line: bytes) -> bool:
    """Whether a line is of stderr, or has a word of an error; pure."""
    text, is_error = said(line)
    return is_error or ERROR_WORDS.search(text) is not None


def containing(text: str) -> Callable[[bytes], bool]:
    """What tells whether a line says a text."""
    wanted = re.compile(re.escape(text.encode()), re.IGNORECASE)
    return lambda line: wanted.search(said(line)[0]) is not None


def search(path: Path, is_wanted: Callable[[bytes], bool], *, most: int = MOST_FOUND) -> Search:
    """The lines of a log that are wanted, counted to its end."""
    total, position = 0, 0
    found: list[FoundLine] = []
    for number, (line, end) in enumerate(lines_from(path, 0), start=1):
        if is_wanted(line):
            total += 1
            if len(found) < most:
                found.append(FoundLine(number, position, line[:MOST_FOUND_BYTES]))
        position = end
    return Search(total, tuple(found))


def lines_by_number(path: Path, outline: LogOutline, number: int, *, most_lines: int, most_bytes: int) -> LogPart:
    """The lines from one of a number on; none behind the last. Only what is near is read."""
    position, at = outline.before_line(number)
    reading = lines_from(path, position)
    for _, end in islice(reading, max(0, number - at)):
        position = end
    return _first(reading, position, most_lines=most_lines, most_bytes=most_bytes)


def number_at(path: Path, outline: LogOutline, position: int) -> int:
    """The number of the line that begins at a position."""
    at, number = outline.before_position(position)
    for _, end in lines_from(path, at):
        if end > position:
            break
        number += 1
    return number


def _first(reading: Iterator[tuple[bytes, int]], start: int, *, most_lines: int, most_bytes: int) -> LogPart:
    lines: list[bytes] = []
    end = start
    for line, after in reading:
        if len(lines) == most_lines or (lines and after - start > most_bytes):
            return LogPart(tuple(lines), start, end, is_last=False)
        lines.append(line)
        end = after
    return LogPart(tuple(lines), start, end)
