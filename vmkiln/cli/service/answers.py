"""What a service answers, as the command line reads it: an answer of another kind is told as that."""

import json
from typing import Any

import httpx

from vmkiln.errors import VmkilnError
from vmkiln.harmless_text import harmless

SHOWN_LETTERS = 80  # of an answer that is none


class ServiceAway(VmkilnError):
    """A service that was to be asked does not answer, or is not one that is trusted here."""

    code = "ServiceAway"
    exit_code = 3


class UnexpectedAnswer(ServiceAway):
    """What answers is no service of ours, or of a version that cannot be understood."""

    code = "UnexpectedAnswer"


class Body(dict[str, Any]):
    """An object of an answer. Raises: `UnexpectedAnswer` for a member that it does not have."""

    def __missing__(self, name: str) -> Any:
        raise UnexpectedAnswer(f"the service answered without `{name}`", hint=OTHER_SERVICE)

    def listed(self, name: str = "value") -> "list[Body]":
        """The objects of a list. Raises: `UnexpectedAnswer` when it is none of objects."""
        found = self[name]
        if not isinstance(found, list) or not all(isinstance(item, Body) for item in found):
            raise UnexpectedAnswer(f"the service answered with no list of objects in `{name}`", hint=OTHER_SERVICE)
        return found


OTHER_SERVICE = "is it a vmkiln service, of a version near this one (`vmkiln --version`), and no proxy on the way?"


def body_of(found: httpx.Response) -> Body:
    """The object in an answer; pure. Raises: `UnexpectedAnswer` when there is none."""
    try:
        body = json.loads(found.content, object_hook=Body)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, Body):
        shown = harmless(found.text[:SHOWN_LETTERS].strip()) or "nothing"
        raise UnexpectedAnswer(
            f"{found.request.method} {found.request.url}: the service answered with no JSON object but with `{shown}`",
            hint=OTHER_SERVICE,
        )
    return body
