"""Logging in and out."""

import json
from dataclasses import replace

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from vmkiln.errors import ArmError
from vmkiln.portal import session
from vmkiln.portal.rendering import page
from vmkiln.portal.visit import KEPT, Visit, go_to, login_page

TOKEN_PATH = "/common/oauth2/v2.0/token"  # noqa: S105
REDEEM_PATH = "/providers/Vmkiln.Builds/loginLinks/redeem"
WRONG = {"invalid_client", "unauthorized_client"}


async def login_form(visit: Visit) -> Response:
    """The form; with the code of a link, a button that logs in with it. Looking at a link does not use it up."""
    query = visit.request.query_params
    wanted, code = query.get("next", ""), query.get("code", "")
    return await login_page(visit, wanted=wanted, code=code[:200])


async def login(visit: Visit) -> Response:
    """An application's id and password, a token, or the code of a link, for a session; back to what was wanted."""
    form = await visit.form()
    wanted, kept = session.own_address(form.get("next", "")), form.get(KEPT, "")
    app_id = form.get("app_id", "").strip()
    try:
        token, seconds = await _token(visit, form, app_id)
        await replace(visit.api, token=token).ask("GET", "/subscriptions")
    except ArmError as error:
        told = error
        if error.code in WRONG:
            told = ArmError(error.status, "WrongLogin", "The application id or the password is wrong.")
        return await login_page(visit, status=error.status, wanted=wanted, kept=kept, app_id=app_id, error=told)
    response = await _again(wanted, kept) if kept else go_to(wanted)
    session.begin(response, token, seconds=seconds)
    return response


async def _token(visit: Visit, form: dict[str, str], app_id: str) -> tuple[str, int]:
    """The token that a form logs in with, and how long it lasts in seconds. Raises: `ArmError`."""
    if pasted := form.get("token", "").strip():
        return pasted, session.PASTED_TOKEN_SECONDS
    if code := form.get("code", ""):
        answer = await visit.api.ask("POST", REDEEM_PATH, form={"code": code})
    else:
        scope = f"{visit.api.base_url}/.default"
        asked = {"grant_type": "client_credentials", "client_id": app_id, "scope": scope}
        asked["client_secret"] = form.get("password", "")
        answer = await visit.api.ask("POST", TOKEN_PATH, form=asked)
    return str(answer["access_token"]), int(answer["expires_in"])


async def _again(wanted: str, kept: str) -> Response:
    """What was to be sent when the session had ended, to be sent by the visitor's own hand."""
    try:
        found = await run_in_threadpool(json.loads, kept)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        return go_to(wanted)
    return await page("again.html", title="You are logged in again", wanted=wanted, kept=kept, names=sorted(found))


async def logout(visit: Visit) -> Response:
    """End the session; who logs in next comes back to the page that was refused, if that is where they come from."""
    form = await visit.form()
    response = go_to(session.login_address(form.get("next", "")))
    session.end(response)
    return response
