"""What was done, told once by the page that comes next: a word of ours and a name, in a cookie for a minute.

*Leaves behind:* a cookie in the visitor's browser. *Undone by:* the page that tells it, or the cookie's end.
Source: RFC 6265bis (`__Host-`): no other host, and nothing without TLS, can set it.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from urllib.parse import quote, unquote

from starlette.requests import Request
from starlette.responses import Response

COOKIE = "__Host-vmkiln-told"
SECONDS = 60
NAME = re.compile(r"[\w.()-]{1,90}")


class Done(StrEnum):
    """What a form of ours has done."""

    RUN = "run"
    RETRY = "retry"
    CANCEL = "cancel"
    CREATE = "create"
    DEPLOY = "deploy"
    DELETE_TEMPLATE = "delete-template"
    DELETE_IMAGE = "delete-image"
    DELETE_GROUP = "delete-group"
    TAGS = "tags"
    TRIGGER = "trigger"
    UNTRIGGER = "untrigger"
    DRAIN = "drain"
    UNDRAIN = "undrain"


TEXTS: Mapping[Done, str] = {
    Done.RUN: "A run of {} was begun: this is it.",
    Done.RETRY: "{} is run again: this is the new run.",
    Done.CANCEL: "The run of {} is being cancelled.",
    Done.CREATE: "The image template {} was accepted.",
    Done.DEPLOY: "The deployment {} was accepted: this page has what becomes of it.",
    Done.DELETE_TEMPLATE: "The image template {} is being deleted, with its staging resource group and its logs.",
    Done.DELETE_IMAGE: "The image {} was deleted.",
    Done.DELETE_GROUP: "The resource group {} is being deleted, with everything in it.",
    Done.TAGS: "The tags of {} were written.",
    Done.TRIGGER: "The trigger {} was made: a new version of the source begins a run.",
    Done.UNTRIGGER: "The trigger {} was deleted: a run begins by hand alone.",
    Done.DRAIN: "{} gets no new runs; those that it has go on.",
    Done.UNDRAIN: "{} takes runs again.",
}


def tell(response: Response, done: Done, name: str) -> None:
    """Have the next page say what was done with what is called so."""
    value = f"{done}.{quote(name, safe='')}"
    response.set_cookie(COOKIE, value, max_age=SECONDS, path="/", secure=True, httponly=True, samesite="strict")


def once(response: Response, text: str) -> Response:
    """The answer, after which `text` is said no more where that is a page; one that leads to another says nothing."""
    if text and response.media_type == "text/html":
        response.delete_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="strict")
    return response


def told(request: Request) -> str:
    """What the page that is asked for has to say; '' for nothing, and for a script that reads a page anew."""
    if request.method != "GET" or request.headers.get("sec-fetch-mode", "navigate") != "navigate":
        return ""
    return text_of(request.cookies.get(COOKIE, ""))


def text_of(value: str) -> str:
    """The sentence that a cookie means; '' for one that is none of ours; pure."""
    word, _, quoted = value.partition(".")
    name = unquote(quoted)
    return TEXTS[Done(word)].format(name) if word in set(Done) and NAME.fullmatch(name) else ""
