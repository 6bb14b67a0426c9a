"""Why a command ended before there was a run, as a CI wants it marked: each mistake at its line of the file.

GitLab has no such marks.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

from vmkiln.cli.output import mistakes_data
from vmkiln.cli.view.plain_view import Marks, on_one_line
from vmkiln.errors import Mistake, VmkilnError

MOST_MARKS = 50  # GitHub shows ten of a step, and fifty of a run


def mark_error(error: BaseException, marks: str, *, file: Path, write: Callable[[str], None]) -> None:
    """Mark an error of ours; `file` is the template as it was named, which may lie below other folders."""
    if marks != Marks.GITHUB or not isinstance(error, VmkilnError):
        return
    mistakes: Iterable[Mistake] = getattr(error, "mistakes", ())
    for mark in error_marks(error, mistakes, file=file)[:MOST_MARKS]:
        write(mark)


def error_marks(error: VmkilnError, mistakes: Iterable[Mistake], *, file: Path) -> list[str]:
    """A line for each mistake, or one for an error that has none; pure."""
    found = []
    for mistake, told in ((one, mistakes_data([one])[0]) for one in mistakes):
        title = f"title={_value(f'vmkiln {error.code}')}"
        place = [f"file={_value(str(file))}", f"line={told['line']}"] if told["line"] else []
        column = [f"col={told['column']}"] if place and told["column"] else []
        text = f"{mistake.path}: {mistake.message}" + (f" ({mistake.hint})" if mistake.hint else "")
        found.append(f"::error {','.join([*place, *column, title])}::{on_one_line(text)}")
    hint = f" ({error.hint})" if error.hint else ""
    alone = f"::error title={_value(f'vmkiln {error.code}')}::{on_one_line(error.message + hint)}"
    return found or [alone]


def _value(text: str) -> str:
    """A value of a mark, in which two signs more mean something; pure."""
    return on_one_line(text).replace(":", "%3A").replace(",", "%2C")
