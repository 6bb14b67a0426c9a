"""An act of the audit as an event of Azure's activity log; pure.

Source: Azure Monitor, "Activity log event schema"; the REST reference of Microsoft.Insights (EventData).
"""

from collections.abc import Collection
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from vmkiln.audit.act import CallerKind, Status
from vmkiln.azure_names import utc_text
from vmkiln.errors import ArmError
from vmkiln.store.rows import AuditRow

CATEGORY = {"value": "Administrative", "localizedValue": "Administrative"}
OBJECT_ID = "http://schemas.microsoft.com/identity/claims/objectidentifier"
NAME = "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/name"
VERBS = {"write": "Create or update", "delete": "Delete"}
CLIENT_REQUEST = "clientRequestId"
_FIRST = datetime(1, 1, 1, tzinfo=UTC)
MEMBERS = frozenset(
    {
        "authorization", "caller", "category", "channels", "claims", "correlationId", "description", "eventDataId",
        "eventName", "eventTimestamp", "httpRequest", "id", "level", "operationId", "operationName", "properties",
        "resourceGroupName", "resourceId", "resourceProviderName", "resourceType", "status", "subStatus",
        "submissionTimestamp", "subscriptionId", "tenantId",
    }
)  # fmt: skip


def event(row: AuditRow, *, tenant_id: str) -> dict[str, Any]:
    """One event, with all its members."""
    moment = _time_text(row.moment)
    segments = row.resource_id.strip("/").split("/")
    detail = {name: value for name, value in row.detail.items() if name != CLIENT_REQUEST}
    provider = row.operation.partition("/")[0]
    is_cut_short = row.status == Status.STARTED
    found: dict[str, Any] = {
        "authorization": {"action": row.operation, "scope": row.resource_id},
        "caller": row.caller,
        "category": CATEGORY,
        "channels": "Operation",
        "claims": _claims(row),
        "correlationId": row.correlation_id,
        "description": _description(row),
        "eventDataId": row.event_id,
        "eventName": _named("BeginRequest", "Begin request") if is_cut_short else _named("EndRequest", "End request"),
        "eventTimestamp": moment,
        "httpRequest": {
            "clientRequestId": row.detail.get(CLIENT_REQUEST, ""),
            "clientIpAddress": row.source,
            "method": row.method,
        },
        "id": f"{row.resource_id}/events/{row.event_id}/ticks/{_ticks(row.moment)}",
        "level": "Error" if row.status == Status.FAILED else "Informational",
        "operationId": row.request_id or row.correlation_id,
        "operationName": _named(row.operation, _words(row.operation)),
        "properties": {
            "statusCode": _phrase(row.code),
            "serviceRequestId": row.request_id,
            "eventCategory": CATEGORY["value"],
            "entity": row.resource_id,
            "message": row.operation,
            **({"errorCode": row.error_code} if row.error_code else {}),
            **detail,
        },
        "resourceGroupName": segments[3] if row.resource_group and len(segments) > 3 else "",
        "resourceId": row.resource_id,
        "resourceProviderName": _named(provider),
        "resourceType": _named(_type(row.operation)),
        "status": _named(row.status),
        "subStatus": _sub_status(row),
        "submissionTimestamp": moment,
        "subscriptionId": segments[1] if row.subscription_id and len(segments) > 1 else "",
        "tenantId": tenant_id,
    }
    return found


def chosen_members(text: str) -> Collection[str]:
    """The members that a `$select` asks for; all when it is empty. Raises: `ArmError` 400."""
    known = {name.lower(): name for name in MEMBERS}
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name.lower() not in known:
            message = f"The $select names '{name[:60]}', which is not a member of an event."
            raise ArmError(
                400, "BadRequest", message, target="$select", hint=f"members are {', '.join(sorted(MEMBERS))}"
            )
    return {known[name.lower()] for name in names} or MEMBERS


def _claims(row: AuditRow) -> dict[str, str]:
    """What is told of a login: who it was, never the token's other claims."""
    if row.caller_kind == CallerKind.NOBODY:
        return {}
    kinds: dict[str, str] = {CallerKind.USER: "user", CallerKind.APP: "app"}
    claims = {NAME: row.caller, OBJECT_ID: row.caller_id, "idtyp": kinds.get(row.caller_kind, "")}
    return {name: value for name, value in claims.items() if value}


def _description(row: AuditRow) -> str:
    match row.caller_kind:
        case CallerKind.SERVICE:
            return "vmkiln did this by itself."
        case CallerKind.OPERATOR:
            return "The operator did this on the machine."
    return ""


def _named(value: str, words: str = "") -> dict[str, str]:
    return {"value": value, "localizedValue": words or value}


def _type(operation: str) -> str:
    """The type of resource that an operation is about: of an action, its name does not belong to it."""
    parts = operation.split("/")
    return "/".join(parts[: -2 if parts[-1] == "action" and len(parts) > 2 else -1])


def _words(operation: str) -> str:
    parts = operation.split("/")
    verb = parts[-2] if parts[-1] == "action" and len(parts) > 2 else VERBS.get(parts[-1], parts[-1])
    kind = _type(operation).partition("/")[2].replace("/", " ")
    return f"{verb} {kind}".strip()


def _phrase(code: int) -> str:
    """An HTTP status as Azure writes it: `BadRequest`; '' for none."""
    try:
        return HTTPStatus(code).phrase.replace(" ", "").replace("-", "")
    except ValueError:
        return ""


def _sub_status(row: AuditRow) -> dict[str, str]:
    phrase = _phrase(row.code)
    return _named(phrase, f"{phrase} (HTTP Status Code: {row.code})") if phrase else _named("")


def _ticks(moment: datetime) -> int:
    """Tenths of microseconds since the year 1."""
    age = moment - _FIRST
    return (age.days * 86_400 + age.seconds) * 10_000_000 + age.microseconds * 10


def _time_text(moment: datetime) -> str:
    return utc_text(moment, timespec="microseconds")
