"""The page of a machine as it changes: a stream of server-sent events with the parts of it that are new, as of a run.

It is cut off when its session is to be renewed, or the service ends: coming back renews it, and goes on.
"""

import asyncio
from collections.abc import AsyncIterator

from starlette.responses import Response, StreamingResponse

from vmkiln.errors import ArmError
from vmkiln.lifetime.ending import is_ending
from vmkiln.portal.rendering import HEADERS
from vmkiln.portal.resources.machine_view import PARTS, MachineView, look, parts
from vmkiln.portal.runs.run_stream import GONE, Told, event
from vmkiln.portal.session import wants_renewal
from vmkiln.portal.visit import Visit

LOOK_SECONDS = 2.0


async def changes(view: MachineView, told: Told) -> AsyncIterator[str]:
    """The events of what changed since the last look."""
    new = [name for name in PARTS if told.is_new(name, view.key(name))]
    for name, html in (await parts(view, new)).items():
        yield event("part", {"id": f"resource-{name}", "html": html})


async def follow(visit: Visit) -> Response:
    """The stream of a machine's page."""
    machine_id = visit.id.removesuffix("/follow")
    first = await look(visit, machine_id)

    async def events() -> AsyncIterator[str]:
        view, told = first, Told()
        was_old = wants_renewal(visit.api.token)
        while True:
            async for text in changes(view, told):
                yield text
            if not view.is_live:
                yield event("end", {})
                return
            yield ": nothing new\n\n"
            await asyncio.sleep(LOOK_SECONDS)
            if (not was_old and wants_renewal(visit.api.token)) or is_ending(visit.request.scope):
                return
            try:
                view = await look(visit, machine_id)
            except ArmError as error:
                if error.status in GONE:
                    yield event("end", {"isGone": True})
                return

    return StreamingResponse(events(), media_type="text/event-stream", headers=HEADERS)
