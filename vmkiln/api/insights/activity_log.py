"""Microsoft.Insights: the activity log of a subscription, which is the service's audit as Azure shows it.

Whoever may read a resource group, or a single resource, sees what was done there; the log without a subscription has
the logins and what was done at `/`, for whoever may read everything.
Source: the REST reference of Microsoft.Insights (Activity Logs - List, Tenant Activity Logs - List).
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from vmkiln.api.identity.caller import Permission
from vmkiln.api.insights.activity_body import CATEGORY, chosen_members, event
from vmkiln.api.insights.activity_filter import parse_filter
from vmkiln.api.protocol.dispatcher import forbidden
from vmkiln.api.protocol.listing import PAGE
from vmkiln.api.protocol.route import Answer, Call, Route
from vmkiln.azure_names import subscription_scope
from vmkiln.errors import ArmError
from vmkiln.store.audit_table import AuditQuery
from vmkiln.store.rows import AuditRow

MANAGEMENT = "providers/Microsoft.Insights/eventtypes/management/values"
MOST_SINGLE_RESOURCES = 200
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def list_of_subscription(call: Call) -> Answer:
    """GET what was done in a subscription, as far as the caller may read, the newest first."""
    subscription = call.names["subscriptionId"]
    known = call.rights.subscriptions
    if known is not None and subscription.lower() not in known:
        raise forbidden(call.caller, call.route, subscription_scope(subscription))
    query = parse_filter(call.query.get("$filter", ""), subscription_id=subscription, now=call.service.now())
    return _page(call, _as_far_as_readable(call, query))


def list_of_tenant(call: Call) -> Answer:
    """GET what was done outside of all subscriptions: logins, roles at `/`, principals."""
    return _page(call, parse_filter(call.query.get("$filter", ""), subscription_id="", now=call.service.now()))


def list_categories(_call: Call) -> Answer:
    """GET the categories of events: the one there is."""
    return Answer(200, {"value": [CATEGORY]})


def _as_far_as_readable(call: Call, query: AuditQuery) -> AuditQuery:
    """The query, narrowed to what the caller may read. Raises: `ArmError` 403 when that is nothing."""
    subscription = subscription_scope(call.names["subscriptionId"])
    asked = [subscription]
    if query.resource_group:
        asked.append(f"{subscription}/resourceGroups/{query.resource_group}")
    if query.resource_id:
        asked.append(query.resource_id)
    if any(call.may(Permission.READ, scope) for scope in asked):
        return query
    inside = [scope.split("/") for scope in sorted(call.rights.scopes_below(subscription, Permission.READ))]
    groups = frozenset(parts[4] for parts in inside if len(parts) == 5 and parts[3] == "resourcegroups")
    resources = frozenset("/".join(parts) for parts in inside if len(parts) > 5)
    if not groups and not resources:
        raise forbidden(call.caller, call.route, subscription)
    if len(resources) > MOST_SINGLE_RESOURCES:
        message = f"roles at more than {MOST_SINGLE_RESOURCES} single resources are not looked through at once"
        raise ArmError(400, "BadRequest", message, target="$filter", hint="add resourceId eq '...' to the filter")
    return replace(query, groups=groups, resources=resources)


def _page(call: Call, query: AuditQuery) -> Answer:
    members = chosen_members(call.query.get("$select", ""))
    if token := call.query.get("$skiptoken", ""):
        query = replace(query, before=_place_of(token))
    rows = call.service.store.audit.find(query, limit=PAGE + 1)
    tenant_id = call.service.issuer.tenant_id
    events = [event(row, tenant_id=tenant_id) for row in rows[:PAGE]]
    answer: dict[str, Any] = {"value": [{name: item[name] for name in item if name in members} for item in events]}
    if len(rows) > PAGE:
        answer["nextLink"] = _next_link(call, rows[:PAGE])
    return Answer(200, answer)


def _next_link(call: Call, rows: Sequence[AuditRow]) -> str:
    token = f"{(rows[-1].moment - _EPOCH) // _MICROSECOND}-{rows[-1].number}"
    asked = {name: call.query[name] for name in ("$filter", "$select") if name in call.query}
    more = "".join(f"&{name}={quote(value, safe='')}" for name, value in asked.items())
    path = quote(call.resource_id, safe="/")
    return f"{call.base_url}{path}?api-version={call.api_version}{more}&$skipToken={token}"


def _place_of(token: str) -> tuple[datetime, int]:
    """Where a page ended. Raises: `ArmError` 400."""
    moment, _, number = token.partition("-")
    if not (token.isascii() and moment.isdecimal() and number.isdecimal() and len(token) <= 40):
        raise ArmError(400, "BadRequest", "The $skipToken is not one of ours.", target="$skipToken")
    try:
        return _EPOCH + int(moment) * _MICROSECOND, min(int(number), 2**63 - 1)
    except OverflowError:
        raise ArmError(400, "BadRequest", "The $skipToken is not one of ours.", target="$skipToken") from None


ROUTES = (
    # May read: what the caller sees is decided act by act.
    Route(
        "GET",
        f"/subscriptions/{{subscriptionId}}/{MANAGEMENT}",
        "ActivityLogs_List",
        Permission.ANY,
        list_of_subscription,
    ),
    Route("GET", f"/{MANAGEMENT}", "TenantActivityLogs_List", Permission.READ, list_of_tenant),
    Route(
        "GET", "/providers/Microsoft.Insights/eventcategories", "EventCategories_List", Permission.ANY, list_categories
    ),
)
