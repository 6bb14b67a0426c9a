"""What a service answers, as the command line reads it: an answer of another kind is told as that."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import httpx

from vmkiln.cli.manual.error_codes import cure_of
from vmkiln.errors import ArmError, VmkilnError
from vmkiln.harmless_text import harmless

SHOWN_LETTERS = 80  # of an answer that is none
MOST_DETAILS = 100  # of a refusal that are told
MOST_DEPTH = 5  # of details of details


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


def refusal(answer: httpx.Response) -> ArmError:
    """What an answer of 400 and above says, in the shapes of ARM and of OAuth, with what helps by the codes' file."""
    try:
        found = answer.json()
    except (ValueError, RecursionError):
        found = None
    found = found if isinstance(found, dict) else {}
    inner = found.get("error", found)
    status = answer.status_code
    if isinstance(inner, dict) and inner.get("code"):
        return _told(inner, status, f"{inner['code']}: {inner.get('message', '')}")
    if isinstance(inner, str):
        return ArmError(status, inner, str(found.get("error_description") or inner), hint=cure_of(inner))
    return ArmError(status, UnexpectedAnswer.code, f"the service answered {status}", hint=OTHER_SERVICE)


def failure(operation: Mapping[str, Any]) -> ArmError:
    """What an asynchronous operation says that ended otherwise than well, with what helps by the codes' file."""
    state = str(operation.get("status", ""))
    error = operation.get("error")
    error = error if isinstance(error, dict) else {}
    told = {**error, "code": error.get("code") or state or UnexpectedAnswer.code}
    return _told(told, 409, str(error.get("message") or f"the operation ended {state or 'in no state'}"))


def _told(error: Mapping[str, Any], status: int, message: str) -> ArmError:
    code, details = str(error["code"]), list(_details(error, MOST_DEPTH))[:MOST_DETAILS]
    more = [text for one in details if (text := _line_of(one)) and not _is_told(one, message)]
    return ArmError(status, code, "\n  ".join([message, *more]), details=details, hint=cure_of(code))


def _details(error: Mapping[str, Any], depth: int) -> Iterator[dict[str, str]]:
    """The innermost errors of a refusal: what each is about, and its words; pure."""
    below = error.get("details")
    for one in below if isinstance(below, list) else ():
        if not isinstance(one, dict):
            continue
        inner = list(_details(one, depth - 1)) if depth > 1 else []
        yield from inner or [{"target": str(one.get("target") or ""), "message": str(one.get("message") or "")}]


def _is_told(detail: Mapping[str, str], message: str) -> bool:
    return detail["target"] in message and detail["message"] in message


def _line_of(detail: Mapping[str, str]) -> str:
    return ": ".join(part for part in (detail["target"], detail["message"]) if part)
