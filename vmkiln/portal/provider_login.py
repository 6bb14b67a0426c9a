"""Logging in at the issuer that the operator chose: there, and back with a code that is good for a session.

What proves that a browser comes back from where it went itself is in a cookie of its own, for ten minutes.

*Leaves behind:* that cookie in the visitor's browser, nothing here. *Undone by:* coming back, or the cookie's end.
Source: RFC 6265bis (`Lax`: it goes along when the issuer leads here, and with no other request of another site);
RFC 7636; RFC 9207 (`iss`); RFC 9700, section 2.1.
"""

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from vmkiln.errors import ArmError
from vmkiln.portal import session
from vmkiln.portal.rendering import HEADERS, page
from vmkiln.portal.visit import Visit, login_page, provider_of

ADDRESS = "/providers/Vmkiln.Builds/logins/address"
REDEEM = "/providers/Vmkiln.Builds/logins/redeem"
COOKIE = "__Host-vmkiln-login"
LOGIN_SECONDS = 600
MOST_KEPT_ADDRESS_LETTERS = 1000  # of the page that is wanted: a cookie has 4096
MOST_SHOWN_LETTERS = 100
WORDS = ("state", "nonce", "verifier", "next")


async def leave(visit: Visit) -> Response:
    """Lead the browser to the issuer, with words that only this browser knows."""
    wanted = session.own_address(visit.request.query_params.get("next", ""))
    kept = {name: secrets.token_urlsafe(32) for name in WORDS[:3]}
    kept["next"] = wanted if len(wanted) <= MOST_KEPT_ADDRESS_LETTERS else session.HOME
    challenge = _base64(hashlib.sha256(kept["verifier"].encode()).digest())
    try:
        asked = {"state": kept["state"], "nonce": kept["nonce"], "challenge": challenge}
        answer = await replace(visit.api, token="").ask("GET", ADDRESS, query=asked)
    except ArmError as error:
        return await login_page(visit, status=error.status, wanted=wanted, error=error)
    response = RedirectResponse(str(answer["url"]), status_code=303, headers=HEADERS)
    text = _base64(json.dumps(kept).encode())
    response.set_cookie(COOKIE, text, max_age=LOGIN_SECONDS, path="/", secure=True, httponly=True, samesite="lax")
    return response


async def come_back(visit: Visit) -> Response:
    """The end of a login at the issuer: a session, and the way to the page that was wanted.

    That way is a link, which the page follows by itself: a browser would not send the new cookie, which is for our
    own pages alone, when the issuer's answer still led it.
    """
    response: Response
    kept, wanted = _kept(visit.request), session.HOME
    try:
        if kept is None:
            raise ArmError(401, "LoginOver", "The login took too long, or began in another browser: log in again.")
        wanted = session.own_address(kept["next"])
        code = await _code(visit, kept)
        form = {"code": code, "verifier": kept["verifier"], "nonce": kept["nonce"]}
        answer = await replace(visit.api, token="").ask("POST", REDEEM, form=form)
        response = await page("signed_in.html", title="You are logged in", wanted=wanted)
        session.begin(response, str(answer["access_token"]), seconds=int(answer["expires_in"]))
    except ArmError as error:
        response = await login_page(visit, status=error.status, wanted=wanted, error=error)
    response.delete_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="lax")
    return response


async def _code(visit: Visit, kept: Mapping[str, str]) -> str:
    """The code that the issuer gave for this very login. Raises: `ArmError`."""
    query = visit.request.query_params
    if not hmac.compare_digest(query.get("state", "").encode(), kept["state"].encode()):
        raise ArmError(401, "LoginOver", "This answer is of another login: log in again.")
    provider = await provider_of(visit)
    if query.get("iss", provider["issuer"]) != provider["issuer"]:
        raise ArmError(401, "LoginRefused", "This answer is of another issuer: log in again.")
    if why := query.get("error", ""):
        raise ArmError(401, "LoginRefused", f"{provider['name']} let nobody in: {why[:MOST_SHOWN_LETTERS]}")
    return query.get("code", "")


def _kept(request: Request) -> Mapping[str, str] | None:
    """What this browser left with; none when it did not, or too long ago."""
    text = request.cookies.get(COOKIE, "")
    try:
        found = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, RecursionError):
        return None
    is_ours = isinstance(found, dict) and all(
        isinstance(found.get(name), str) and found[name].isascii() for name in WORDS
    )
    return found if is_ours else None


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
