"""Logging in and out."""

from dataclasses import replace

from starlette.responses import Response

from vmkiln.errors import ArmError
from vmkiln.portal import session
from vmkiln.portal.rendering import page
from vmkiln.portal.visit import LOGIN, PREFIX, Visit, go_to

TOKEN_PATH = "/common/oauth2/v2.0/token"  # noqa: S105


async def login_form(_visit: Visit) -> Response:
    """The form."""
    return await page("login.html", title="Log in", error=None, app_id="")


async def login(visit: Visit) -> Response:
    """An application's id and password, or a token, for a session."""
    form = await visit.form()
    app_id, token, seconds = form.get("app_id", "").strip(), form.get("token", "").strip(), 0
    try:
        if token:
            seconds = session.PASTED_TOKEN_SECONDS
        else:
            scope = f"{visit.api.base_url}/.default"
            asked = {"grant_type": "client_credentials", "client_id": app_id, "scope": scope}
            asked["client_secret"] = form.get("password", "")
            answer = await visit.api.ask("POST", TOKEN_PATH, form=asked)
            token, seconds = str(answer["access_token"]), int(answer["expires_in"])
        await replace(visit.api, token=token).ask("GET", "/subscriptions")
    except ArmError as error:
        return await page("login.html", status=error.status, title="Log in", error=error, app_id=app_id)
    response = go_to(f"{PREFIX}/")
    session.begin(response, token, seconds=seconds)
    return response


async def logout(visit: Visit) -> Response:
    """End the session."""
    await visit.form()
    response = go_to(LOGIN)
    session.end(response)
    return response
