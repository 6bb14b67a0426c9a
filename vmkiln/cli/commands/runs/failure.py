"""`vmkiln run failure`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from vmkiln.cli.completing import RunArgument
from vmkiln.cli.invocation import read_settings
from vmkiln.cli.manual.examples import examples
from vmkiln.cli.output import answer, newest_or, say
from vmkiln.cli.template_options import JsonOption
from vmkiln.errors import InputError
from vmkiln.harmless_text import harmless, without_marks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vmkiln.run.failure.failure_report import FailureReport


@examples("vmkiln run failure")
def failure(run_id: RunArgument = "", as_json: JsonOption = False) -> None:
    """Print why a run failed, as far as is known: where, the likely cause, what helps, the last lines, what changed."""
    from vmkiln.azure_names import LOG_FILES
    from vmkiln.cli.commands.runs.run_logs import log_path
    from vmkiln.preparation import opened_store
    from vmkiln.run.failure.failure_of_run import failure_of

    with opened_store(read_settings(), say) as store:
        run = store.runs.find(newest_or(store, run_id))
        found = failure_of(store, run, lambda of_run, kind: log_path(store, of_run.run_id, file_name=LOG_FILES[kind]))
    if found is None:
        raise InputError(f"run {run.run_id[:8]} has not failed: it is {run.state}")
    if as_json:
        answer({"run_id": run.run_id, **asdict(found)})
        return
    typer.echo(f"run {run.run_id}: {run.state}")
    for line in failure_lines(found):
        typer.echo(without_marks(line))


def failure_lines(found: FailureReport) -> Iterator[str]:
    """A report for a terminal, line by line; pure."""
    where = [f"in {found.phase}" if found.phase else "before it began"]
    where += [f"step {harmless(found.step)}"] if found.step else []
    where += [f"exit status {found.status}"] if found.status is not None else []
    yield f"  where: {', '.join(where)}"
    yield from (f"  {harmless(line)}" for line in found.message.split("\n") if line)
    if found.cause:
        yield f"  likely: {harmless(found.cause.what)}"
        yield f"  what helps: {harmless(found.cause.remedy)}"
    if found.end:
        yield f"  the end of the {found.end.kind} log:"
        for number, line in enumerate(found.end.lines, start=found.end.first_line):
            yield f"  {'>' if number == found.error_line else ' '} {number:>6}  {harmless(line)}"
    if found.changes:
        yield f"  changed since run {found.compared_with[:8]}, which succeeded:"
        yield from (f"    {harmless(change)}" for change in found.changes)
    if found.differing:
        yield f"  line {found.differing.line} of the log is the first that differs from run {found.compared_with[:8]}:"
        yield f"    now  {harmless(found.differing.text)}"
        yield f"    then {harmless(found.differing.was) or 'nothing more'}"
