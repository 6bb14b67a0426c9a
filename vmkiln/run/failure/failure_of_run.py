"""What there is to say of one failed run, from its records and the end of its log."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from vmkiln.run.failure.failure_report import LOOKED_AT_LINES, FailureReport, LogEnd, failed_phase, report
from vmkiln.run.failure.first_difference import first_difference
from vmkiln.run_state import Phase, RunState
from vmkiln.staging.logs.log_outline import LogOutline, outline_of
from vmkiln.staging.logs.log_search import lines_by_number, said
from vmkiln.store.database import Store
from vmkiln.store.rows import RunRow

KINDS = ("customization", "validation")
MOST_END_BYTES = 256 * 1024


def failure_of(store: Store, run: RunRow, log_file: Callable[[RunRow, str], Path]) -> FailureReport | None:
    """The report of a failed run; none for a run that did not fail. `log_file` tells where a run's log of a kind is."""
    if run.state is not RunState.FAILED:
        return None
    phases = [phase.name for phase in store.runs.phases_of(run.run_id)]
    end = None
    phase = failed_phase(phases, run.error_code) or Phase.QUEUED
    kind = {Phase.CUSTOMIZING: KINDS[0], Phase.VALIDATING: KINDS[1]}.get(Phase(phase))
    if kind:
        path = log_file(run, kind)
        end = log_end(path, kind, outline_of(path))
    others = store.timelines.runs_before(run, most=1)
    before = store.runs.by_id(others).get(others[0]) if others else None
    found = report(run, phases, end, before)
    if before is None or end is None or kind is None or not before.staging_group:
        return found
    return replace(found, differing=first_difference(log_file(run, kind), log_file(before, kind), end.step))


def log_end(path: Path, kind: str, outline: LogOutline) -> LogEnd | None:
    """The last lines of the last step of a log; none of an empty one."""
    groups = [group for group in outline.groups if group.lines]
    if not groups:
        return None
    last = groups[-1]
    first = max(last.first_line, last.first_line + last.lines - LOOKED_AT_LINES)
    piece = lines_by_number(path, outline, first, most_lines=LOOKED_AT_LINES, most_bytes=MOST_END_BYTES)
    found = [said(line) for line in piece.lines]
    texts = tuple(text.decode(errors="replace") for text, _ in found)
    return LogEnd(kind, last.step, first, texts, tuple(is_error for _, is_error in found))
