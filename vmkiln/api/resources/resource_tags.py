"""Microsoft.Resources/tags/default: the tags of a resource group or resource, read and changed by themselves.

Changed is the resource itself, through its own routes, as whoever asks. A subscription has no tags of its own;
`tagNames` has those of everything in it.
Source: the ARM reference of tags; az's requests.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from vmkiln.api.authorization.role_definitions import SCOPES, SUBSCRIPTION
from vmkiln.api.identity.caller import Permission
from vmkiln.api.protocol.listing import MOST_SCOPES, check_seen
from vmkiln.api.protocol.route import Answer, Body, Call, Route
from vmkiln.api.protocol.tags import refuse, tag_mistakes
from vmkiln.azure_names import NEWEST_API_VERSION, subscription_scope
from vmkiln.errors import ArmError, Mistake
from vmkiln.store.rows import ResourceRow

TAGS = "providers/Microsoft.Resources/tags/default"
MOST_COUNTED = 10_000  # resources whose tags are counted
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


def of_subscription(call: Call) -> Answer:
    """GET the tags of a subscription: it has none."""
    check_seen(call)
    return _answer(call, {})


def list_names(call: Call) -> Answer:
    """GET the names and values of the tags of all that the caller may read, each with how often it is there."""
    subscription = check_seen(call)
    counts: dict[str, Counter[str]] = {}
    for row in _readable(call, subscription):
        for name, value in row.tags.items():
            counts.setdefault(name, Counter())[str(value)] += 1
    scope = subscription_scope(subscription)
    return Answer(200, {"value": [_name(scope, name, values) for name, values in sorted(counts.items())]})


def _readable(call: Call, subscription: str) -> Iterator[ResourceRow]:
    """The first resources and groups of a subscription that the caller may read."""
    whole = call.may(Permission.READ, subscription_scope(subscription))
    scopes = None if whole else call.rights.scopes_below(subscription_scope(subscription), Permission.READ)
    scopes = None if scopes is not None and len(scopes) > MOST_SCOPES else scopes
    rows = call.service.store.resources.list(subscription_id=subscription, limit=MOST_COUNTED, scopes=scopes)
    return (row for row in rows if whole or call.may(Permission.READ, row.id))


def _name(scope: str, name: str, values: Counter[str]) -> dict[str, Any]:
    path = f"{scope}/tagNames/{name}"
    found = [
        {"id": f"{path}/tagValues/{value}", "tagValue": value, "count": {"type": "Total", "value": count}}
        for value, count in sorted(values.items())
    ]
    return {"id": path, "tagName": name, "count": {"type": "Total", "value": values.total()}, "values": found}


ROUTES = (
    Route("GET", f"{SUBSCRIPTION}/tagNames", "Tags_List", Permission.ANY, list_names),
    Route("GET", f"{SUBSCRIPTION}/{TAGS}", "Tags_GetAtSubscription", Permission.ANY, of_subscription),
    *(
        route
        for suffix, scope in SCOPES
        if scope != SUBSCRIPTION
        for route in (
            Route("GET", f"{scope}/{TAGS}", f"Tags_GetAt{suffix}", Permission.READ, get),
            Route("PUT", f"{scope}/{TAGS}", f"Tags_CreateOrUpdateAt{suffix}", Permission.WRITE, put, Body.JSON),
            Route("PATCH", f"{scope}/{TAGS}", f"Tags_UpdateAt{suffix}", Permission.WRITE, patch, Body.JSON),
            Route("DELETE", f"{scope}/{TAGS}", f"Tags_DeleteAt{suffix}", Permission.DELETE, delete),
        )
    ),
)
