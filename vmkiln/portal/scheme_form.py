"""The form at the foot of each page that chooses between light and dark."""

from urllib.parse import urlsplit

from starlette.responses import Response

from vmkiln.portal import scheme, session
from vmkiln.portal.visit import Visit, go_to


async def choose(visit: Visit) -> Response:
    """Keep what was chosen, and go back to the page where that was done."""
    form = await visit.form()
    came_from = urlsplit(visit.request.headers.get("referer", ""))
    wanted = came_from.path + (f"?{came_from.query}" if came_from.query else "")
    response = go_to(session.own_address(wanted))
    scheme.keep(response, scheme.scheme_of(form.get("scheme", "")))
    return response
