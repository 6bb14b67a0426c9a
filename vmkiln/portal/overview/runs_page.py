"""All runs, those that `vmkiln build` made too, and the queue."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.responses import Response

from vmkiln.azure_names import ALL_RUNS, utc_text
from vmkiln.portal.overview.estimate import MOST_TEMPLATES, expected_end
from vmkiln.portal.overview.listed import DAYS, asked, next_address, one_page
from vmkiln.portal.rendering import page
from vmkiln.portal.visit import Visit
from vmkiln.run_state import GOING_ON, LIVE_STATES, RunState

OF_TEMPLATE = "providers/Vmkiln.Builds/runs"
QUEUE = "/providers/Vmkiln.Builds/queue"
REFRESH_SECONDS = 5


async def runs(visit: Visit) -> Response:
    """Runs that the visitor may read, the newest first, 50 a page."""
    query = asked(visit, "q", "state", "days", "held")
    if query.get("days") not in DAYS:
        query.pop("days", "")
    found, after = await one_page(visit, ALL_RUNS, _wanted(query))
    live = any(run["properties"]["runState"] in LIVE_STATES for run in found)
    return await page(
        "runs.html",
        title="Runs",
        section="runs",
        runs=found,
        query=query,
        states=[str(state) for state in RunState],
        days=DAYS,
        older=next_address("/runs", query, after),
        refresh_seconds=REFRESH_SECONDS if live else 0,
    )


def _wanted(query: Mapping[str, str]) -> dict[str, str]:
    """What the API is asked for what a page's address asks: its days are a time there."""
    found = {name: value for name, value in query.items() if name != "days"}
    if days := query.get("days"):
        found["since"] = utc_text(datetime.now(UTC) - timedelta(days=int(days)), timespec="seconds")
    return found


async def queue(visit: Visit) -> Response:
    """The runs that wait, in order, with what each waits for, and the runs that hold what they wait for."""
    waiting, going_on = await asyncio.gather(
        visit.api.ask("GET", QUEUE), visit.api.ask("GET", ALL_RUNS, state=",".join(GOING_ON))
    )
    now, ends = datetime.now(UTC), await _ends(visit, going_on["value"])
    soonest = min((end for end in ends.values() if end > now), default=None)
    return await page(
        "queue.html",
        title="Queue",
        section="queue",
        waiting=waiting["value"],
        others=waiting["others"],
        going_on=going_on["value"],
        ends={name: utc_text(end) for name, end in ends.items()},
        late={name for name, end in ends.items() if end <= now},
        soonest=utc_text(soonest) if soonest else "",
        refresh_seconds=REFRESH_SECONDS,
    )


async def _ends(visit: Visit, going_on: Sequence[Mapping[str, Any]]) -> dict[str, datetime]:
    """When each run that goes on is usually over, by its name, as far as runs of its template tell it."""
    named = {str(run["properties"]["templateId"]) for run in going_on if run["properties"]["templateId"]}
    templates = sorted(named)[:MOST_TEMPLATES]
    lists = await asyncio.gather(*(visit.api.readable(f"{one}/{OF_TEMPLATE}") for one in templates))
    known = dict(zip(templates, (found.get("value", []) for found in lists), strict=True))
    ends = (
        (str(run["name"]), expected_end(run["name"], known.get(run["properties"]["templateId"], [])))
        for run in going_on
    )
    return {name: end for name, end in ends if end is not None}
