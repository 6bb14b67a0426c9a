"""Which lines of a run's logs stand on its page when it is opened: those of what is open first, and few in all."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.concurrency import run_in_threadpool

from vmkiln.portal.runs.log_view import Group, Line, lines_of
from vmkiln.portal.visit import Visit

SHOWN_LINES = 500
MOST_SHOWN_LETTERS = 64 * 1024
MOST_SHOWN_GROUPS = 24  # that have lines on the page


@dataclass(frozen=True)
class Shown:
    """A group with the lines of it that are on the page; `earlier` and `later` are where its other lines begin."""

    group: Group
    lines: tuple[Line, ...]
    earlier: int | None
    later: int | None


def window(group: Group, room: int, chosen: int | None) -> tuple[int, int]:
    """The first line that is shown of a group, and how many: the end of what goes on or failed, else around `chosen`.

    Pure.
    """
    count = min(room, group.lines)
    if chosen is not None and group.first_line <= chosen <= group.last_line:
        first = max(group.first_line, chosen - count // 4)
        return first, min(count, group.last_line - first + 1)
    if group.state in {"live", "failed", "over"}:
        return group.last_line - count + 1, count
    return group.first_line, count


async def shown(
    visit: Visit, run_id: str, groups: Mapping[str, list[Group]], *, chosen: tuple[str, int] | None
) -> dict[str, list[Shown]]:
    """The groups of each log with the lines of them that are shown.

    Folded groups have their lines when they are few: then nothing has to be asked for when they are opened.
    """
    found = {kind: [_without_lines(group) for group in items] for kind, items in groups.items()}
    lines_left, letters_left = SHOWN_LINES, MOST_SHOWN_LETTERS
    order = [(kind, index) for kind, items in groups.items() for index in range(len(items))]
    order.sort(key=lambda place: not groups[place[0]][place[1]].is_open)
    for kind, index in order[:MOST_SHOWN_GROUPS]:
        group = groups[kind][index]
        is_too_long = not group.is_open and group.lines > lines_left
        if lines_left <= 0 or letters_left <= 0 or is_too_long or not group.lines:
            continue
        line = chosen[1] if chosen and chosen[0] == kind else None
        first, count = window(group, lines_left, line)
        piece = await lines(visit, run_id, kind, first=first, count=count)
        kept, letters_left = _fitting(piece, letters_left, from_end=group.is_open and line is None)
        lines_left -= len(kept)
        found[kind][index] = _with_lines(group, kept)
    return found


async def lines(visit: Visit, run_id: str, kind: str, *, first: int, count: int) -> list[Line]:
    """Lines of a log by number."""
    path = f"{run_id}/log/lines"
    answer: dict[str, Any] = await visit.api.ask("GET", path, kind=kind, line=str(first), count=str(count))
    return await run_in_threadpool(lines_of, answer, int(answer["startLine"]))


def _fitting(lines: list[Line], room: int, *, from_end: bool) -> tuple[tuple[Line, ...], int]:
    """As many of the lines as have room, in letters, and the room that is left; pure."""
    kept: list[Line] = []
    for line in reversed(lines) if from_end else lines:
        room -= len(line.text) + 1
        if room < 0 and kept:
            break
        kept.append(line)
    return tuple(reversed(kept) if from_end else kept), room


def _without_lines(group: Group) -> Shown:
    return Shown(group, (), None, group.first_line if group.lines else None)


def _with_lines(group: Group, lines: tuple[Line, ...]) -> Shown:
    if not lines:
        return _without_lines(group)
    first, last = lines[0].number, lines[-1].number
    earlier = max(group.first_line, first - SHOWN_LINES) if first > group.first_line else None
    return Shown(group, lines, earlier, last + 1 if last < group.last_line else None)
