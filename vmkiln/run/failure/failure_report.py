"""What there is to say of a failed run at once: where, with which status, the lines before it, why, what changed.

Source: docs/portal.md#a-failed-run.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vmkiln.run.failure.first_difference import Difference
from vmkiln.run.failure.known_failures import Cause, cause_of
from vmkiln.run_failures import ValidationFailed
from vmkiln.run_state import Phase
from vmkiln.store.rows import RunRow

SHOWN_LINES = 20
LOOKED_AT_LINES = 200  # a loop that gives up prints much after the line that matters
MOST_CHANGES = 20
MOST_DEPTH = 20
_STATUS = re.compile(r"(?:exit(?:ed with)?(?: non-zero)?(?: exit)? (?:status|code)|exited with):? (?P<status>\d{1,5})")
_ERROR = re.compile(
    r"\b(?:E:|errors?\b|failed|failure|fatal|cannot|unable to|not found|refused|denied|traceback|panic)", re.IGNORECASE
)
_OURS = re.compile(
    r"==> |Provisioning step had errors|Build '.*' (?:errored|finished)|Some builds didn't complete|^--> "
    r"|^(?:somebody|nobody|the) .*\bfailed VM\b|^the build-vm is (?:not )?held"
)


@dataclass(frozen=True)
class LogEnd:
    """The end of the log of the step that failed: its kind (customization or validation), and what its lines say.

    `first_line` is the number of the first of them in the log, from 1; `is_error` tells for each whether it is of
    stderr. `step` is the name of the step that was on.
    """

    kind: str
    step: str
    first_line: int
    lines: tuple[str, ...]
    is_error: tuple[bool, ...]


@dataclass(frozen=True)
class FailureReport:
    """Where a run failed and why, as far as is known.

    `phase` is where; `step` which customizer or validation ('' when it was none), `status` its exit status. `end` are
    the last lines, `error_line` the number in the log of the one that is most likely the reason. `changes` are paths of
    the template, and `source`, that differ from the last run that succeeded, whose id is `compared_with`; `differing`
    is the first line of the step's log that does, none where that is not known.
    """

    phase: str
    step: str
    status: int | None
    message: str
    cause: Cause | None
    end: LogEnd | None
    error_line: int | None
    compared_with: str
    changes: tuple[str, ...]
    differing: Difference | None = None


def failed_phase(phases: Sequence[str], code: str) -> str:
    """The phase that a run failed in, of those that it came to; '' when it came to none. Pure.

    `code` is what it failed with: an image whose validation failed may have been distributed all the same.
    """
    if code == ValidationFailed.code and Phase.VALIDATING in phases:
        return Phase.VALIDATING
    return next((name for name in reversed(phases) if name != Phase.CLEANING_UP), "")


def has_failed_validation(run: RunRow) -> bool:
    """Whether a validation of a run failed, also one that goes on to distribute all the same; pure."""
    finished = run.facts.get("finished")
    return run.error_code == ValidationFailed.code or bool(finished and finished["validation_error"])


def report(run: RunRow, phases: Sequence[str], end: LogEnd | None, before: RunRow | None) -> FailureReport:
    """What is known of a failed run; `before` is the last one of its template that succeeded. Pure."""
    phase = failed_phase(phases, run.error_code)
    texts = [*(end.lines if end else ()), run.message]
    status = next((int(found["status"]) for text in reversed(texts) if (found := _STATUS.search(text))), None)
    lines = end.lines if end else ()
    cause, index = cause_of(lines, code=run.error_code, status=status)
    if index is None and end is not None:
        index = _likely(end)
    shown = end and LogEnd(
        end.kind,
        end.step,
        end.first_line + max(0, len(lines) - SHOWN_LINES),
        lines[-SHOWN_LINES:],
        end.is_error[-SHOWN_LINES:],
    )
    return FailureReport(
        phase=phase,
        step=end.step if end else "",
        status=status,
        message=run.message,
        cause=cause,
        end=shown,
        error_line=None if index is None or end is None else end.first_line + index,
        compared_with=before.run_id if before else "",
        changes=tuple(changes(before, run)) if before else (),
    )


def _likely(end: LogEnd) -> int | None:
    """The last line with a word of an error that the guest printed, else its last line of stderr; pure."""
    numbers = [number for number in range(len(end.lines) - 1, -1, -1) if not _OURS.search(end.lines[number])]
    with_word = [number for number in numbers if _ERROR.search(end.lines[number])]
    of_stderr = [number for number in numbers if end.is_error[number]]
    return next(iter((*with_word, *of_stderr)), None)


def changes(before: RunRow, run: RunRow) -> list[str]:
    """What is not as it was in an earlier run: paths of the template, and the version of its source; pure.

    Values are left out: they may be secret.
    """
    found = []
    for name, word in (("source_exact_version", "version of the source"), ("source_digest", "bytes of the source")):
        old, new = before.facts.get(name), run.facts.get(name)
        if old and new and old != new:
            found.append(f"{word}: {old} -> {new}" if name == "source_exact_version" else word)
    for path in _differing(before.template, run.template, "", MOST_DEPTH):
        if len(found) == MOST_CHANGES:
            break
        found.append(path)
    return found


def _differing(old: Any, new: Any, path: str, depth: int) -> Iterator[str]:
    """The paths of values that differ."""
    if old == new:
        return
    if depth and isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in sorted({*old, *new}, key=str):
            yield from _differing(old.get(name), new.get(name), f"{path}.{name}" if path else str(name), depth - 1)
    elif depth and isinstance(old, list) and isinstance(new, list):
        for index in range(max(len(old), len(new))):
            one, other = (items[index] if index < len(items) else None for items in (old, new))
            yield from _differing(one, other, f"{path}[{index}]", depth - 1)
    else:
        yield path or "template"
