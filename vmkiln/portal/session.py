"""Who visits: the token of the API in a cookie, which no script can read and no other site can send.

*Leaves behind:* a cookie in the visitor's browser, nothing here. *Undone by:* logging out, or the token's end.
Source: RFC 6265bis (`__Host-`, SameSite); Fetch Metadata (Sec-Fetch-Site).
"""

import base64
import hashlib
import json
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from starlette.requests import Request
from starlette.responses import Response

from vmkiln.errors import ArmError
from vmkiln.portal.trail import PREFIX

COOKIE = "__Host-vmkiln"
PASTED_TOKEN_SECONDS = 8 * 3600
LOGIN = f"{PREFIX}/login"
HOME = f"{PREFIX}/"
MOST_ADDRESS_LETTERS = 2000
MOST_REFUSED = 1000
MOST_NAME_LETTERS = 60
NAMES = ("preferred_username", "name", "app_displayname", "appid")  # claims that name a token's holder, the best first
_refused: dict[str, None] = {}  # the hashes of tokens that are not renewed, the oldest first


def token_of(request: Request) -> str:
    """The visitor's token; '' when they have not logged in."""
    return request.cookies.get(COOKIE, "")


def begin(response: Response, token: str, *, seconds: int) -> None:
    """Log a visitor in."""
    response.set_cookie(COOKIE, token, max_age=seconds, path="/", secure=True, httponly=True, samesite="strict")


def end(response: Response) -> None:
    """Log a visitor out."""
    response.delete_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="strict")


def check_own_page(request: Request, base_url: str) -> None:
    """A form that changes something was sent by a page of ours. Raises: `ArmError` 403."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site not in {None, "same-origin"} or (origin is not None and origin != base_url) or (site or origin) is None:
        raise ArmError(403, "ForeignRequest", "the request did not come from a page of this portal")


def wants_renewal(token: str) -> bool:
    """Whether more than half of a token's time is over, and it was not refused another one before.

    What it says is not proven here: the API does that.
    """
    if _hash(token) in _refused:
        return False
    claims = _claims(token)
    try:
        return time.time() > (float(claims["iat"]) + float(claims["exp"])) / 2
    except (KeyError, ValueError, TypeError):
        return False


def name_of(token: str) -> str:
    """What a token calls its holder, to be shown to them alone; '' for one that says nothing. It is not proven here."""
    claims = _claims(token)
    named = (claims.get(claim) for claim in NAMES)
    return next((text[:MOST_NAME_LETTERS] for text in named if isinstance(text, str) and text), "")


def _claims(token: str) -> Mapping[str, Any]:
    """What a token says; nothing for a text that is none. It is not proven here: the API does that."""
    try:
        part = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (IndexError, ValueError, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}


def refuse_renewal(token: str) -> None:
    """Do not ask for a token in place of this one again: each time would be an act in the audit."""
    _refused[_hash(token)] = None
    while len(_refused) > MOST_REFUSED:
        del _refused[next(iter(_refused))]


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()


def own_address(text: str) -> str:
    """The page of ours that an address names, with its query; the first page for everything else; pure."""
    if (
        len(text) > MOST_ADDRESS_LETTERS
        or "\\" in text
        or any(ord(letter) < 33 or ord(letter) > 126 for letter in text)
    ):
        return HOME
    try:
        parts = urlsplit(text)
    except ValueError:
        return HOME
    path = unquote(parts.path)  # as browsers and the service read it: `%2e%2e` is `..` to either
    is_ours = not parts.scheme and not parts.netloc and path.startswith(HOME) and not {"..", "."} & {*path.split("/")}
    is_login = path.rstrip("/") in {LOGIN, f"{PREFIX}/logout"} or path.startswith(f"{LOGIN}/")
    return text if is_ours and not is_login else HOME


def login_address(wanted: str) -> str:
    """Where to log in, to come back to a page afterwards; pure."""
    page = own_address(wanted)
    return LOGIN if page == HOME else f"{LOGIN}?next={quote(page, safe='')}"
