"""Build hosts: what they have and have promised, and taking one out."""

import asyncio
import re

from starlette.responses import PlainTextResponse, Response

from vmkiln.errors import ArmError
from vmkiln.portal.overview.allowed import allowed_to
from vmkiln.portal.rendering import HEADERS, page
from vmkiln.portal.told import Done
from vmkiln.portal.visit import PREFIX, Visit, done

HOSTS = "/providers/Vmkiln.Builds/hosts"
ACTIONS = {"drain", "undrain"}
NAME = re.compile(r"(?!\.+$)[^/\\?\x00-\x1f\x7f]{1,255}")
REFRESH_SECONDS = 10


async def hosts(visit: Visit) -> Response:
    """Every host that is or was at work."""
    found, allowed = await asyncio.gather(visit.api.ask("GET", HOSTS), allowed_to(visit))
    return await page(
        "hosts.html",
        title="Hosts",
        section="hosts",
        hosts=found["value"],
        may=allowed.may,
        refresh_seconds=REFRESH_SECONDS,
    )


async def metrics(visit: Visit) -> Response:
    """What Prometheus reads at `/metrics`, for whoever may read the service as a whole."""
    found = await visit.api.ask("GET", "/metrics")
    return PlainTextResponse(found, headers=HEADERS)


async def act(visit: Visit) -> Response:
    """Drain a host, or let it take runs again."""
    form = await visit.form()
    action, host = form.get("action", ""), form.get("host", "")
    if action not in ACTIONS:
        raise ArmError(400, "InvalidParameter", "the action must be drain or undrain", target="action")
    if not NAME.fullmatch(host):  # it becomes part of an address
        raise ArmError(400, "InvalidParameter", "no host has this name: it is empty, or has `/` or `?`", target="host")
    await visit.api.ask("POST", f"{HOSTS}/{host}/{action}")
    return done(Done(action), host, f"{PREFIX}/hosts")
