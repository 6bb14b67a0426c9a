"""A run: where its time went, what came out, and its log, live."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from vmkiln.errors import ArmError
from vmkiln.harmless_text import harmless
from vmkiln.portal.api_client import ApiClient
from vmkiln.portal.rendering import HEADERS, page
from vmkiln.portal.template_pages import RUNS
from vmkiln.portal.visit import Visit
from vmkiln.portal.waterfall import waterfall
from vmkiln.run_state import LIVE_STATES, RunState
from vmkiln.staging.logs.log_news import NEWS

FOLLOW_SECONDS = 0.5
TOGETHER_SECONDS = 0.05  # what comes within a short while goes together
SHOWN_LINES = 1000
SHOWN_FLOWS = 500
KINDS = ("customization", "validation")


async def run(visit: Visit) -> Response:
    """One run."""
    template_id = visit.id.rpartition(f"/{RUNS}/")[0]
    found, runs, confinement, flows = await asyncio.gather(
        visit.api.ask("GET", visit.id),
        visit.api.every(f"{template_id}/{RUNS}"),
        visit.api.ask("GET", f"{visit.id}/confinement"),
        visit.api.ask("GET", f"{visit.id}/flows"),
    )
    properties = found["properties"]
    live = properties["runState"] in LIVE_STATES
    before = _last_success(runs, found)
    bars = waterfall(properties["phases"], before, datetime.now(UTC))
    logs = {} if live else {kind: await _end_of_log(visit, kind) for kind in KINDS}
    return await page(
        "run.html",
        title=f"Run {found['name'][:8]}",
        run=found,
        template_id=template_id,
        bars=bars,
        confinement=confinement["value"],
        flows=flows["value"][:SHOWN_FLOWS],
        has_more_flows=not flows["isComplete"] or len(flows["value"]) > SHOWN_FLOWS,
        logs={kind: piece for kind, piece in logs.items() if piece["lines"]},
        is_live=live,
    )


def _last_success(runs: list[dict[str, Any]], run: dict[str, Any]) -> list[dict[str, Any]]:
    """The phases of the last run before this one that succeeded; pure."""
    start = run["properties"]["startTime"]
    for other in runs:  # the newest first
        properties = other["properties"]
        if properties["startTime"] < start and properties["runState"] == RunState.SUCCEEDED:
            return list(properties["phases"])
    return []


async def _pieces(api: ApiClient, run_id: str, kind: str) -> AsyncIterator[list[str]]:
    """The lines of a log, piece by piece, as far as it is."""
    position = 0
    while True:
        piece = await api.ask("GET", f"{run_id}/log", kind=kind, position=str(position))
        yield piece["lines"]
        if not piece["lines"]:
            return
        position = piece["position"]


async def _end_of_log(visit: Visit, kind: str) -> dict[str, Any]:
    """The last lines of an ended run's log; nothing else of it is read."""
    found: dict[str, Any] = await visit.api.ask("GET", f"{visit.id}/log", kind=kind, tail=str(SHOWN_LINES))
    return found


async def raw_log(visit: Visit) -> Response:
    """The whole log as a file, never as something that a browser would show."""
    run_id = visit.id.removesuffix("/log")
    kind = visit.request.query_params.get("kind", KINDS[0])
    await visit.api.ask("GET", f"{run_id}/log", kind=kind)  # what is refused is refused before anything is sent

    async def content() -> AsyncIterator[bytes]:
        async for lines in _pieces(visit.api, run_id, kind):
            yield "".join(f"{line}\n" for line in lines).encode()

    headers = {**HEADERS, "Content-Disposition": f'attachment; filename="{kind}-{run_id[-36:]}.log"'}
    return StreamingResponse(content(), media_type="text/plain; charset=utf-8", headers=headers)


def _event(piece: Mapping[str, Any]) -> str:
    """A piece of a log, which may be long, as a server-sent event; pure."""
    lines = json.dumps([harmless(line) for line in piece["lines"]])
    return f"id: {piece['position']}\ndata: {lines}\n\n"


async def follow(visit: Visit) -> Response:
    """The log as server-sent events: each is a list of lines, its id the position behind them; `end` when it ended."""
    run_id = visit.id.removesuffix("/follow")
    resumed = visit.request.headers.get("last-event-id", "0")
    position = int(resumed) if resumed.isdecimal() and len(resumed) < 16 else 0
    first = await visit.api.ask("GET", f"{run_id}/log", position=str(position))

    async def events() -> AsyncIterator[str]:
        piece, patience = first, 0.0  # what came before it is a follower is seen by the second look
        async with NEWS.followed(run_id[-36:].lower()) as follower:
            while True:
                if piece["lines"]:
                    yield await run_in_threadpool(_event, piece)
                    await asyncio.sleep(TOGETHER_SECONDS)
                elif piece["isComplete"]:
                    yield "event: end\ndata: {}\n\n"
                    return
                else:
                    yield ": nothing new\n\n"
                    # the run's end is no line, and another process or host may write the log: it is looked at, too
                    await follower.news(at_most_seconds=patience)
                    patience = FOLLOW_SECONDS
                try:
                    piece = await visit.api.ask("GET", f"{run_id}/log", position=str(piece["position"]))
                except ArmError:  # the login has ended, or the template was deleted: the page says which
                    yield "event: end\ndata: {}\n\n"
                    return

    return StreamingResponse(events(), media_type="text/event-stream", headers=HEADERS)
