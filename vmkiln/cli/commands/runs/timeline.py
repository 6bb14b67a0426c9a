"""`vmkiln run timeline`."""

from __future__ import annotations

from typing import Annotated

import typer

from vmkiln.cli.invocation import read_settings
from vmkiln.cli.manual.examples import examples
from vmkiln.cli.output import answer, newest_or, say
from vmkiln.cli.template_options import JsonOption
from vmkiln.cli.view.waterfall import timeline_lines, unended_lines
from vmkiln.errors import InputError
from vmkiln.run_state import GOING_ON


@examples("vmkiln run timeline 0123abcd")
def timeline(
    run_id: Annotated[
        str, typer.Argument(help="A run's id, or the beginning of it; the newest run when left out.")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Print where a run's time went, part by part, with CPU time and memory, beside what is usual.

    What is usual is the median of the last five runs of the template that succeeded. CPU time and memory are those of
    the run's VMs and of its network's programs.
    """
    from vmkiln.preparation import opened_store
    from vmkiln.run.timeline.comparison import compared

    with opened_store(read_settings(), say) as store:
        found = compared(store, store.runs.find(newest_or(store, run_id)))
    if as_json:
        answer(found)
        return
    lines = timeline_lines(found["parts"])
    lines += unended_lines(found["parts"], goes_on=found["state"] in GOING_ON)
    if not lines:
        raise InputError("this run has no timeline yet", hint="no part of it has begun, or an older vmkiln built it")
    typer.echo(f"run {found['run_id']}: {found['state']}")
    for line in lines:
        typer.echo(f"  {line}")
    count = len(found["compared_with"])
    if count:
        typer.echo(f"  usually: the median of {count} earlier run{'s' if count > 1 else ''} of this template")
