"""Light or dark: what the visitor chose for this browser, in a cookie for a year; else what the system says.

*Leaves behind:* a cookie in the visitor's browser, with one word of ours. *Undone by:* choosing the system's.
"""

from enum import StrEnum

from starlette.requests import Request
from starlette.responses import Response

COOKIE = "__Host-vmkiln-scheme"
SECONDS = 365 * 24 * 3600


class Scheme(StrEnum):
    """The colours of all pages."""

    SYSTEM = "system"
    LIGHT = "light"
    DARK = "dark"


def scheme_of(text: str) -> Scheme:
    """The scheme that a word means, the system's for one that is none of ours; pure."""
    return Scheme(text) if text in set(Scheme) else Scheme.SYSTEM


def chosen(request: Request) -> Scheme:
    """What the visitor chose."""
    return scheme_of(request.cookies.get(COOKIE, ""))


def keep(response: Response, scheme: Scheme) -> None:
    """Have the browser keep a choice; the system's is none."""
    if scheme is Scheme.SYSTEM:
        response.delete_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="strict")
        return
    response.set_cookie(COOKIE, scheme, max_age=SECONDS, path="/", secure=True, httponly=True, samesite="strict")
