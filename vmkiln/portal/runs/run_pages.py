"""A run: where its time went, what came out, why it failed, and its logs, live."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response, StreamingResponse

from vmkiln.errors import ArmError
from vmkiln.harmless_text import harmless
from vmkiln.portal.api_client import ApiClient
from vmkiln.portal.overview.acts import said_of_run
from vmkiln.portal.overview.allowed import allowed_to
from vmkiln.portal.passing_on import PassedOn
from vmkiln.portal.rendering import HEADERS, page
from vmkiln.portal.runs.log_view import ANCHORS
from vmkiln.portal.runs.run_view import KINDS, look
from vmkiln.portal.runs.shown_lines import lines, shown
from vmkiln.portal.told import Done
from vmkiln.portal.visit import PREFIX, Visit, done, go_to

SHOWN_FLOWS = 500
MOST_ASKED_LINES = 1000
MOST_TEXT_LETTERS = 200
MOST_FOUND_LETTERS = 300  # of a found line in the list of them


def _chosen(visit: Visit) -> tuple[str, int] | None:
    """The line that the address asks for: its log's kind and its number."""
    kind, line = visit.request.query_params.get("kind", KINDS[0]), visit.request.query_params.get("line", "")
    if kind not in KINDS or not line.isdecimal() or not 0 < len(line) < 10:
        return None
    return kind, max(1, int(line))


async def _flows(visit: Visit) -> dict[str, Any]:
    """The flow log of a run; one that is not kept any longer is `gone`, with the reason."""
    try:
        found: dict[str, Any] = await visit.api.ask("GET", f"{visit.id}/flows")
    except ArmError as error:
        if error.status not in {404, 410}:
            raise
        return {"value": [], "isComplete": True, "gone": error.message if error.status == 410 else ""}
    return found


async def any_run(visit: Visit) -> Response:
    """A run among all runs: one that `vmkiln build` made; one of a template is shown where that is."""
    found = await visit.api.ask("GET", visit.id)
    return go_to(f"{PREFIX}{found['id']}") if found["properties"]["templateId"] else await run(visit)


async def run(visit: Visit) -> Response:
    """One run."""
    view, confinement, flows, receipts, pictures, allowed = await asyncio.gather(
        look(visit, visit.id),
        visit.api.ask("GET", f"{visit.id}/confinement"),
        _flows(visit),
        visit.api.ask("GET", f"{visit.id}/receipts"),
        visit.api.ask("GET", f"{visit.id}/pictures"),
        allowed_to(visit),
    )
    chosen = _chosen(visit)
    if chosen is not None:  # a link may name a line that is not there
        kind, line = chosen
        chosen = kind, min(line, max(1, int(view.outlines[kind]["lines"])))
    if chosen is None and view.failure and view.failure["log"]:
        log = view.failure["log"]
        chosen = log["kind"], int(view.failure["errorLine"] or log["firstLine"])
    query = visit.request.query_params
    text, only_errors = query.get("find", "")[:MOST_TEXT_LETTERS], query.get("errors") == "on"
    found = await find_in_logs(visit, visit.id, text, only_errors=only_errors) if text or only_errors else None
    return await page(
        "run.html",
        title=view.title,
        heading=view.heading,
        section="templates" if view.template_id else "runs",
        **view.values(),
        may=allowed.may,
        logs=await shown(visit, visit.id, view.groups(chosen=chosen), chosen=chosen),
        place=".".join(str(int(view.outlines[kind]["lines"]) + 1) for kind in KINDS),
        anchors=ANCHORS,
        chosen=chosen,
        find=text,
        only_errors=only_errors,
        found=found,
        said=await said_of_run(visit, view.run, view.template_id),
        pictures=pictures["value"],
        confinement=confinement["value"],
        receipts=receipts["value"],
        flows=flows["value"][:SHOWN_FLOWS],
        has_more_flows=not flows["isComplete"] or len(flows["value"]) > SHOWN_FLOWS,
        no_flows=flows.get("gone", ""),
    )


async def act(visit: Visit) -> Response:
    """Run the template of an ended run again, and go to the new run."""
    form = await visit.form()
    if form.get("action") != "retry":
        raise ArmError(400, "InvalidParameter", "the action must be retry", target="action")
    begun = await visit.api.ask("POST", f"{visit.id}/retry")
    return done(Done.RETRY, visit.request.path_params["name"], f"{PREFIX}{begun['id']}")


async def find_in_logs(visit: Visit, run_id: str, text: str, *, only_errors: bool) -> dict[str, Any]:
    """The lines of both logs that say a text, or tell of an error: {total, lines}, each {kind, anchor, line, text}."""
    path, errors = f"{run_id}/log/search", "true" if only_errors else ""
    # one after the other, for of searches there are few at once
    answers = [await visit.api.ask("GET", path, kind=kind, text=text, errors=errors) for kind in KINDS]
    lines = await run_in_threadpool(_found_lines, answers)  # they may have hundreds of thousands of letters
    return {"total": sum(int(answer["total"]) for answer in answers), "lines": lines}


def _found_lines(answers: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Those of each log as they are shown; pure."""
    return [
        {
            "kind": kind,
            "anchor": f"{ANCHORS[kind]}{item['line']}",
            "line": item["line"],
            "text": harmless(item["text"][:MOST_FOUND_LETTERS]),
        }
        for kind, answer in zip(KINDS, answers, strict=True)
        for item in answer["value"]
    ]


async def find(visit: Visit) -> Response:
    """What was found, for the page's scripts."""
    query = visit.request.query_params
    run_id, text = visit.id.removesuffix("/find"), query.get("text", "")[:MOST_TEXT_LETTERS]
    found = await find_in_logs(visit, run_id, text, only_errors=query.get("errors") == "true")
    return JSONResponse(found, headers=HEADERS)


async def some_lines(visit: Visit) -> Response:
    """Lines by number, for the page's scripts: {kind, lines}."""
    query, run_id = visit.request.query_params, visit.id.removesuffix("/lines")
    kind, first, count = query.get("kind", ""), query.get("line", ""), query.get("count", "")
    is_number = all(text.isdecimal() and len(text) < 10 for text in (first, count))
    if kind not in KINDS or not is_number or int(count) > MOST_ASKED_LINES:
        raise ArmError(400, "InvalidParameter", "`kind`, `line` or `count` is not what the page's scripts ask for")
    found = await lines(visit, run_id, kind, first=int(first), count=int(count))
    return JSONResponse({"kind": kind, "lines": [line.data() for line in found]}, headers=HEADERS)


async def _pieces(api: ApiClient, run_id: str, kind: str) -> AsyncIterator[list[str]]:
    """The lines of a log, piece by piece, as far as it is."""
    position = 0
    while True:
        piece = await api.ask("GET", f"{run_id}/log", kind=kind, position=str(position))
        yield piece["lines"]
        if not piece["lines"]:
            return
        position = piece["position"]


async def picture(visit: Visit) -> Response:
    """One picture of a VM's screen, which was made into a PNG by us."""
    name = visit.id.rpartition("/")[2]
    return PassedOn(visit.api.api, visit.id, visit.api.token, name=name, shown_as="image/png")


async def raw_log(visit: Visit) -> Response:
    """The whole log as a file, or with `inline` as plain text; never as something that a browser would obey."""
    run_id = visit.id.removesuffix("/log")
    kind = visit.request.query_params.get("kind", KINDS[0])
    await visit.api.ask("GET", f"{run_id}/log", kind=kind)  # what is refused is refused before anything is sent

    async def content() -> AsyncIterator[bytes]:
        async for piece in _pieces(visit.api, run_id, kind):
            yield "".join(f"{line}\n" for line in piece).encode()

    how = "inline" if "inline" in visit.request.query_params else "attachment"
    headers = {**HEADERS, "Content-Disposition": f'{how}; filename="{kind}-{run_id[-36:]}.log"'}
    return StreamingResponse(content(), media_type="text/plain; charset=utf-8", headers=headers)
