"""A run's page as it changes: one stream of server-sent events with its parts, its state and the lines of its logs.

`state` has the title and the icon, `part` a piece of the page that is to be put in place of the old one, `groups` those
steps of a log that changed, `lines` lines of a log; `end` says that nothing follows, with `isGone` because the viewer
may not see it any more, or it is not there any more. The id of an event is where both logs go on, so who was cut off
resumes there. A stream is cut off when its session is to be renewed: coming back renews it. It is cut off, too, when
the service ends, which would wait for it.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from vmkiln.errors import ArmError
from vmkiln.harmless_text import harmless
from vmkiln.lifetime.ending import is_ending
from vmkiln.portal.rendering import HEADERS
from vmkiln.portal.runs.log_view import lines_of
from vmkiln.portal.runs.run_view import KINDS, PARTS, RunView, look, parts
from vmkiln.portal.session import wants_renewal
from vmkiln.portal.visit import Visit
from vmkiln.staging.logs.log_news import NEWS

FOLLOW_SECONDS = 2.0  # without news, which come at once from the process that writes the log
STATE_SECONDS = 1.0  # between two looks at the state, while lines come
TOGETHER_SECONDS = 0.05  # what comes within a short while goes together
MOST_AT_ONCE = 1000
MOST_BEHIND = 5000  # a viewer who is farther behind goes on at the log's last lines
SHOWN_LINES = 500
GONE = {403, 404}  # the template was deleted, or may not be read any more
PLACE = re.compile(r"(\d{1,9})\.(\d{1,9})")


def place_of(text: str) -> dict[str, int]:
    """Where the logs go on, by kind: numbers of lines, from 1; pure."""
    found = PLACE.fullmatch(text)
    return {kind: max(1, int(found[index])) if found else 1 for index, kind in enumerate(KINDS, start=1)}


def event(name: str, data: Any, *, place: Mapping[str, int] | None = None) -> str:
    """A server-sent event; pure."""
    at = f"id: {'.'.join(str(place[kind]) for kind in KINDS)}\n" if place else ""
    return f"{at}event: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n"


class Told:
    """What a viewer was told last, so that only what changed is told again."""

    def __init__(self) -> None:
        self._keys: dict[str, Any] = {}

    def is_new(self, name: str, key: Any) -> bool:
        """Whether this is not what was told; it is from now on."""
        if name in self._keys and self._keys[name] == key:
            return False
        self._keys[name] = key
        return True


async def changes(view: RunView, told: Told) -> AsyncIterator[str]:
    """The events of what changed since the last look."""
    if told.is_new("state", view.title):
        state = {"title": harmless(view.title), "icon": view.icon, "isLive": view.is_live}
        yield event("state", state)
    for kind, groups in view.groups().items():
        data = [group.data() for group in groups if told.is_new(group.key, group)]
        if data:
            yield event("groups", {"kind": kind, "groups": data})
    new = [name for name in PARTS if told.is_new(name, view.key(name))]
    for name, html in (await parts(view, new)).items():
        yield event("part", {"id": f"run-{name}", "html": html})


def _lines_event(kind: str, answer: Mapping[str, Any], place: Mapping[str, int]) -> str:
    lines = [line.data() for line in lines_of(answer, answer["startLine"])]
    return event("lines", {"kind": kind, "lines": lines}, place=place)


async def follow(visit: Visit) -> Response:
    """The stream of a run's page."""
    run_id = visit.id.removesuffix("/follow")
    asked = visit.request.headers.get("last-event-id") or visit.request.query_params.get("from", "")
    place = place_of(asked)
    first = await look(visit, run_id)
    clock = asyncio.get_running_loop().time

    async def new_lines(view: RunView) -> AsyncIterator[str]:
        for kind in view.written(place):
            line = str(place[kind])
            answer = await visit.api.ask("GET", f"{run_id}/log/lines", kind=kind, line=line, count=str(MOST_AT_ONCE))
            if int(answer["total"]) - place[kind] > MOST_BEHIND:
                place[kind] = int(answer["total"]) - SHOWN_LINES + 1
                line = str(place[kind])
                answer = await visit.api.ask(
                    "GET", f"{run_id}/log/lines", kind=kind, line=line, count=str(MOST_AT_ONCE)
                )
            if answer["lines"]:
                place[kind] += len(answer["lines"])
                yield await run_in_threadpool(_lines_event, kind, answer, dict(place))

    async def events() -> AsyncIterator[str]:
        view, told, looked, patience = first, Told(), clock(), 0.0
        was_old = wants_renewal(visit.api.token)  # then it was renewed as the stream began, as far as it can be
        async with NEWS.followed(run_id[-36:].lower()) as follower:
            while True:
                async for text in changes(view, told):
                    yield text
                has_lines = False
                try:
                    async for text in new_lines(view):
                        has_lines = True
                        yield text
                    if not has_lines and not view.is_live:
                        yield event("end", {})
                        return
                    if has_lines:
                        await asyncio.sleep(TOGETHER_SECONDS)
                    else:
                        yield ": nothing new\n\n"
                        # the run's state is no line, and another process or host may write the log: they are looked at
                        await follower.news(at_most_seconds=patience)
                        patience = FOLLOW_SECONDS
                    if clock() - looked >= STATE_SECONDS:
                        view, looked = await look(visit, run_id), clock()
                except ArmError as error:
                    if error.status in GONE:
                        yield event("end", {"isGone": True})
                    return  # of all else it is told to who comes back
                if (not was_old and wants_renewal(visit.api.token)) or is_ending(visit.request.scope):
                    return

    return StreamingResponse(events(), media_type="text/event-stream", headers=HEADERS)
