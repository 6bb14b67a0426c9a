"""`vmkiln history`: the runs of the service and of the command line, with how long each took, or by image template."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vmkiln.cli.commands.runs.run_choice import (
    MOST_LISTED_RUNS,
    OfTemplateOption,
    StateOption,
    none_listed,
    read_states,
)
from vmkiln.cli.invocation import read_settings
from vmkiln.cli.manual.examples import examples
from vmkiln.cli.output import answer, moment_text, say, show_rows
from vmkiln.cli.template_options import JsonOption
from vmkiln.run_state import RunState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vmkiln.store.rows import RunRow


@examples("vmkiln history", "vmkiln history --by-template", "vmkiln history --state Failed --template web")
def history(
    template: OfTemplateOption = "",
    state: StateOption = None,
    limit: Annotated[int, typer.Option(help="How many runs, the newest first.", min=1, max=MOST_LISTED_RUNS)] = 20,
    by_template: Annotated[bool, typer.Option("--by-template", help="A line a template, of all its runs.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List the runs of the service and of the command line with their durations, or what each template came to."""
    from vmkiln.preparation import opened_store

    states = read_states(state)
    with opened_store(read_settings(), say) as store:
        rows = store.runs.list(limit=None, states=states, template=template)
        none = none_listed(states, template, () if rows else store.runs.template_names())
    found = by_name(rows) if by_template else [run_data(row) for row in rows[:limit]]
    if as_json:
        answer(found)
        return
    if by_template:
        show_rows(
            ("TEMPLATE", ">RUNS", ">SUCCEEDED", ">USUAL", ">LAST", "LAST STATE"),
            [
                (
                    item["template"],
                    str(item["runs"]),
                    str(item["succeeded"]),
                    _seconds(item["usual_seconds"]),
                    _seconds(item["last_seconds"]),
                    item["last_state"],
                )
                for item in found
            ],
            none=none,
        )
        return
    show_rows(
        ("RUN", "STARTED (UTC)", "STATE", ">TOOK", "BY", "TEMPLATE"),
        [
            (
                item["run_id"][:8],
                item["started"][:19].replace("T", " "),
                item["state"],
                _seconds(item["seconds"]),
                item["by"],
                item["template"],
            )
            for item in found
        ],
        none=none,
    )


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} s"


def run_data(row: RunRow) -> dict[str, Any]:
    """A run as the history tells it; pure. `by` is who asked: `service` or `command line`."""
    from vmkiln.store.rows import seconds_between

    return {
        "run_id": row.run_id,
        "template": row.template_name,
        "resource_group": row.resource_group,
        "state": str(row.state),
        "started": moment_text(row.started),
        "ended": moment_text(row.ended) if row.ended else None,
        "seconds": round(seconds_between(row.started, row.ended), 3) if row.ended else None,
        "by": "service" if row.template_id or "reason" in row.facts else "command line",  # its template may be deleted
    }


def by_name(rows: Sequence[RunRow]) -> list[dict[str, Any]]:
    """What the runs of each template came to, the one that ran last first; `rows` are newest first. Pure.

    `usual_seconds` is the median of the runs that succeeded.
    """
    names = dict.fromkeys(row.template_name for row in rows)
    found = []
    for name in names:
        runs = [run_data(row) for row in rows if row.template_name == name]
        took = [run["seconds"] for run in runs if run["state"] == RunState.SUCCEEDED]
        found.append(
            {
                "template": name,
                "runs": len(runs),
                "succeeded": len(took),
                "usual_seconds": median(took) if took else None,
                "last_seconds": runs[0]["seconds"],
                "last_state": runs[0]["state"],
                "last_started": runs[0]["started"],
            }
        )
    return found
