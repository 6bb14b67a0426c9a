"""All runs, those that `vmkiln build` made too, and the queue."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from starlette.responses import Response

from vmkiln.azure_names import ALL_RUNS, utc_text
from vmkiln.portal.overview.listed import DAYS, asked, next_address, one_page
from vmkiln.portal.rendering import page
from vmkiln.portal.visit import Visit
from vmkiln.portal.waterfall import moment
from vmkiln.run_state import LIVE_STATES, RunState

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
    found, now = await visit.api.ask("GET", QUEUE), datetime.now(UTC)
    ends = {run["name"]: moment(run["properties"]["expectedEnd"]) for run in found["goingOn"]}
    return await page(
        "queue.html",
        title="Queue",
        section="queue",
        waiting=found["value"],
        others=found["others"],
        going_on=found["goingOn"],
        late={name for name, end in ends.items() if end is not None and end <= now},
        refresh_seconds=REFRESH_SECONDS,
    )
