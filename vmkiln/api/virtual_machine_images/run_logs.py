"""The logs of a run as readers need them: from a line on, as an outline of its steps, searched, and why it failed."""

import contextlib
import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vmkiln.api.protocol.route import Answer, Call
from vmkiln.api.virtual_machine_images.past_runs import (
    MOST_ANSWER_BYTES,
    MOST_LINES,
    number_in,
    read_run,
    routes_of_run,
)
from vmkiln.azure_names import LOG_FILES
from vmkiln.errors import ArmError
from vmkiln.run.failure.failure_of_run import failure_of
from vmkiln.run.failure.failure_report import FailureReport
from vmkiln.staging.customization_log import LogPart
from vmkiln.staging.logs.log_index import clock_text, times_of
from vmkiln.staging.logs.log_outline import LogGroup, outline_of
from vmkiln.staging.logs.log_search import (
    MOST_TEXT_LETTERS,
    containing,
    lines_by_number,
    of_error,
    said,
    search,
)
from vmkiln.staging.staging_resource_group import storage_account_of
from vmkiln.staging.storage_account import LOGS
from vmkiln.store.rows import RunRow

MOST_LINE_NUMBER = 100_000_000
MOST_SEARCHES = 4
KINDS = ("customization", "validation")
_turns = threading.BoundedSemaphore(MOST_SEARCHES)


def _kind(query: Mapping[str, str]) -> str:
    kind = query.get("kind", KINDS[0])
    if kind not in KINDS:
        raise ArmError(400, "InvalidParameter", f"`kind` must be one of: {', '.join(KINDS)}", target="kind")
    return kind


def log_file(call: Call, run: RunRow, kind: str) -> tuple[Path, bool]:
    """Where a log of a run is, or would be, and whether all of it is here."""
    staging = call.service.store.staging.group(run.staging_group)
    if staging is None:
        return Path("/nonexistent"), True
    is_whole = True
    if call.service.shared is not None:
        is_whole = call.service.shared.pull_log(staging.name, run.run_id)
    account = storage_account_of(call.service.settings.staging, staging)
    return account.directory / LOGS / run.run_id / LOG_FILES[kind], is_whole


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else clock_text(seconds)


def _group_body(group: LogGroup) -> dict[str, Any]:
    return {
        "step": group.step,
        "startPosition": group.start,
        "position": group.end,
        "firstLine": group.first_line,
        "lines": group.lines,
        "errorLines": group.errors,
        "startTime": _time(group.began),
        "endTime": _time(group.ended),
    }


def get_outline(call: Call) -> Answer:
    """GET the steps of a log with the numbers of their lines: {value, lines, position, isComplete}.

    An item is what was written while one step was on, the step's name being '' before the first; lines are counted from
    1 over the whole log. At most 1,000 items: what comes behind them belongs to the last.
    """
    run = read_run(call)
    path, is_whole = log_file(call, run, _kind(call.query))
    found = outline_of(path)
    body = {"value": [_group_body(group) for group in found.groups], "lines": found.lines, "position": found.end}
    return Answer(200, {**body, "isComplete": run.ended is not None and is_whole})


def get_lines(call: Call) -> Answer:
    """GET lines of a log by their number: {lines, times, startLine, startPosition, position, total}.

    `line` is the first of them, from 1, `count` how many at most (2,000); `total` is how many the log has now.
    """
    run = read_run(call)
    path, _ = log_file(call, run, _kind(call.query))
    line = max(1, number_in(call.query, "line", most=MOST_LINE_NUMBER) or 1)
    count = number_in(call.query, "count", most=MOST_LINES)
    outline = outline_of(path)
    piece = LogPart()
    if line <= outline.lines:
        piece = lines_by_number(
            path, outline, line, most_lines=MOST_LINES if count is None else count, most_bytes=MOST_ANSWER_BYTES
        )
    times = times_of(path, piece.start, piece.lines)
    body = {
        "lines": [text.decode(errors="replace").removesuffix("\n") for text in piece.lines],
        "times": [None if one is None else {"time": clock_text(one.time), "step": one.step} for one in times],
        "startLine": line,
        "startPosition": piece.start,
        "position": piece.end,
        "total": outline.lines,
    }
    return Answer(200, body)


def search_log(call: Call) -> Answer:
    """GET the lines of a log that say a `text`, or with `errors=true` tell of an error: {value, total}.

    At most 500 of them with number, position and text; `total` counts them all. Letters of ASCII are found in any case.
    """
    run = read_run(call)
    path, _ = log_file(call, run, _kind(call.query))
    text, is_errors = call.query.get("text", ""), call.query.get("errors") == "true"
    if len(text) > MOST_TEXT_LETTERS or not (text or is_errors):
        message = f"`text` must have 1 to {MOST_TEXT_LETTERS} letters, unless `errors` is true"
        raise ArmError(400, "InvalidParameter", message, target="text")
    has_text = containing(text)
    with _a_turn():
        found = search(path, lambda line: (not is_errors or of_error(line)) and (not text or has_text(line)))
    value = [
        {"line": one.number, "position": one.position, "text": said(one.line)[0].decode(errors="replace")}
        for one in found.found
    ]
    return Answer(200, {"value": value, "total": found.total})


@contextlib.contextmanager
def _a_turn() -> Iterator[None]:
    """One of the few searches at once: a long log takes seconds of a processor. Raises: `ArmError` 429."""
    if not _turns.acquire(blocking=False):
        message = f"The service searches {MOST_SEARCHES} logs already."
        raise ArmError(429, "TooManyRequests", message, hint="try again", headers={"Retry-After": "2"})
    try:
        yield
    finally:
        _turns.release()


def get_failure(call: Call) -> Answer:
    """GET why a run failed, as far as is known: {value}, null for a run that did not.

    That is its phase, step, exit status, message, the likely cause, the last 20 lines of the step's log, the number of
    the line that most likely tells the reason, and what changed since the last run that succeeded: of the template and
    its source, and the first line of the step's log that is another (`differing`).
    """
    run = read_run(call)
    found = failure_of(call.service.store, run, lambda of_run, kind: log_file(call, of_run, kind)[0])
    return Answer(200, {"value": None if found is None else _failure_body(found)})


def _failure_body(found: FailureReport) -> dict[str, Any]:
    """A report in ARM's spelling; pure."""
    return {
        "phase": found.phase,
        "step": found.step,
        "exitStatus": found.status,
        "message": found.message,
        "cause": asdict(found.cause) if found.cause else None,
        "log": None
        if found.end is None
        else {
            "kind": found.end.kind,
            "firstLine": found.end.first_line,
            "lines": list(found.end.lines),
            "isError": list(found.end.is_error),
        },
        "errorLine": found.error_line,
        "comparedWith": found.compared_with,
        "changes": list(found.changes),
        "differing": asdict(found.differing) if found.differing else None,
    }


ROUTES = (
    *routes_of_run("log/outline", "GetLogOutline", get_outline),
    *routes_of_run("log/lines", "GetLogLines", get_lines),
    *routes_of_run("log/search", "SearchLog", search_log),
    *routes_of_run("failure", "GetFailure", get_failure),
)
