"""Who visits: the token of the API in a cookie, which no script can read and no other site can send.

*Leaves behind:* a cookie in the visitor's browser, nothing here. *Undone by:* logging out, or the token's end.
Source: RFC 6265bis (`__Host-`, SameSite); Fetch Metadata (Sec-Fetch-Site).
"""

from starlette.requests import Request
from starlette.responses import Response

from vmkiln.errors import ArmError

COOKIE = "__Host-vmkiln"
PASTED_TOKEN_SECONDS = 8 * 3600


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
