"""Where the log of a failed step first says something else than in the last run of its template that succeeded.

Figures, sums and times of day differ in every run: digits, and long words of hexadecimal digits, count as alike.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vmkiln.staging.logs.log_outline import outline_of
from vmkiln.staging.logs.log_search import lines_by_number, said

MOST_COMPARED_LINES = 5000
MOST_COMPARED_BYTES = 1024 * 1024
# what stands below a step that failed, or at the log's end, and is nothing that the step said
_END = re.compile(rb"Provisioning step had errors|^Build '.*' (?:errored|finished)|^Done exporting Packer logs")
_FIGURES = re.compile(rb"\b[0-9a-f]{8,}\b|\d+")


@dataclass(frozen=True)
class Difference:
    """A line's number in the log of the failed run, what it says, and what stood there in the other; '' for an end."""

    line: int
    text: str
    was: str


def first_difference(path: Path, before: Path, step: str) -> Difference | None:
    """The first line of a step that is another in the log `before`; none when what is here stands there, too."""
    number, here = _of_step(path, step)
    _, there = _of_step(before, step)
    if not there:
        return None
    return _differing(here, there, number)


def _of_step(path: Path, step: str) -> tuple[int, Sequence[bytes]]:
    """The number of the first line that the last step of a name wrote, and what its lines say."""
    outline = outline_of(path)
    found = [group for group in outline.groups if group.step == step and group.lines]
    if not found:
        return 0, ()
    last, most = found[-1], MOST_COMPARED_BYTES
    lines = min(last.lines, MOST_COMPARED_LINES)
    piece = lines_by_number(path, outline, last.first_line, most_lines=lines, most_bytes=most)
    texts = [said(line)[0] for line in piece.lines]
    end = next((number for number, text in enumerate(texts) if _END.search(text)), len(texts))
    return last.first_line, texts[:end]


def _differing(here: Sequence[bytes], there: Sequence[bytes], number: int) -> Difference | None:
    """Pure."""
    for index, line in enumerate(here):
        was = there[index] if index < len(there) else b""
        if _plain(line) != _plain(was):
            return Difference(number + index, line.decode(errors="replace"), was.decode(errors="replace"))
    return None


def _plain(line: bytes) -> bytes:
    return _FIGURES.sub(b"0", line).strip()
