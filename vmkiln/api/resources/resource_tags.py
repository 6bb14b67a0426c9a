"""Microsoft.Resources/tags/default: the tags of a resource group or resource, read and changed by themselves.

Changed is the resource itself, through its own routes, as whoever asks.
Source: the ARM reference of tags; az's requests.
"""

from collections.abc import Mapping
from typing import Any

from vmkiln.api.authorization.role_definitions import SCOPES, SUBSCRIPTION
from vmkiln.api.identity.caller import Permission
from vmkiln.api.protocol.route import Answer, Body, Call, Route
from vmkiln.api.protocol.tags import refuse, tag_mistakes
from vmkiln.azure_names import NEWEST_API_VERSION
from vmkiln.errors import ArmError, Mistake

TAGS = "providers/Microsoft.Resources/tags/default"
OPERATIONS = ("Replace", "Merge", "Delete")


def _target(call: Call) -> str:
    return call.resource_id[: call.resource_id.lower().rindex(f"/{TAGS}".lower())]


def _asked(call: Call, method: str, body: Any = None) -> Answer:
    """The answer to a request for the resource. Raises: `ArmError` as it was refused."""
    target = _target(call)
    is_ours = "/providers/microsoft.virtualmachineimages/" in target.lower()
    version = NEWEST_API_VERSION if is_ours else "2024-11-01"
    answer = call.service.dispatch(
        method,
        target,
        caller=call.caller,
        query={"api-version": version},
        body=body,
        base_url=call.base_url,
        origin=call.origin,
    )
    if answer.status >= 400:
        error = answer.body.get("error", {}) if isinstance(answer.body, dict) else {}
        raise ArmError(answer.status, str(error.get("code", "Unknown")), str(error.get("message", "")))
    return answer


def _tags(call: Call) -> dict[str, str]:
    body = _asked(call, "GET").body
    return dict(body.get("tags") or {}) if isinstance(body, dict) else {}


def _answer(call: Call, tags: Mapping[str, str]) -> Answer:
    found = {"id": call.resource_id, "name": "default", "type": "Microsoft.Resources/tags"}
    return Answer(200, {**found, "properties": {"tags": dict(tags)}})


def get(call: Call) -> Answer:
    """GET the tags."""
    return _answer(call, _tags(call))


def _given(call: Call) -> dict[str, str]:
    properties = call.body.get("properties")
    tags = properties.get("tags") if isinstance(properties, dict) else None
    refuse([Mistake.missing("properties.tags")] if tags is None else tag_mistakes(tags))
    return dict(tags or {})


def _put(call: Call, tags: Mapping[str, str]) -> Answer:
    refuse(tag_mistakes(tags))
    _asked(call, "PATCH", {"tags": dict(tags)})
    return _answer(call, tags)


def put(call: Call) -> Answer:
    """PUT: these tags and no others."""
    return _put(call, _given(call))


def patch(call: Call) -> Answer:
    """PATCH: `operation` says whether they are merged with those there are, put in their place, or taken away."""
    given, wanted = _given(call), str(call.body.get("operation", "")).lower()
    match wanted:
        case "replace":
            return _put(call, given)
        case "merge":
            return _put(call, {**_tags(call), **given})
        case "delete":
            return _put(call, {name: value for name, value in _tags(call).items() if given.get(name) != value})
    message = f"`operation` is one of {', '.join(OPERATIONS)}"
    raise ArmError(400, "InvalidRequestContent", message, target="operation")


def delete(call: Call) -> Answer:
    """DELETE: no tags any more."""
    _put(call, {})
    return Answer(200)


ROUTES = tuple(
    route
    for suffix, scope in SCOPES
    if scope != SUBSCRIPTION
    for route in (
        Route("GET", f"{scope}/{TAGS}", f"Tags_GetAt{suffix}", Permission.READ, get),
        Route("PUT", f"{scope}/{TAGS}", f"Tags_CreateOrUpdateAt{suffix}", Permission.WRITE, put, Body.JSON),
        Route("PATCH", f"{scope}/{TAGS}", f"Tags_UpdateAt{suffix}", Permission.WRITE, patch, Body.JSON),
        Route("DELETE", f"{scope}/{TAGS}", f"Tags_DeleteAt{suffix}", Permission.DELETE, delete),
    )
)
