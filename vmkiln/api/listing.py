"""Pages of a list: at most a hundred items, then a link to the next. Source: aib-reference.md, section 1 (paging)."""

from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote

from vmkiln.api.dispatcher import forbidden
from vmkiln.api.route import Answer, Call, Permission
from vmkiln.store.rows import ResourceRow

PAGE = 100
Fetch = Callable[[str], list[ResourceRow]]


def _everything(_row: ResourceRow) -> bool:
    return True


def readable(call: Call, fetch: Fetch, *, keep: Callable[[ResourceRow], bool] = _everything) -> list[ResourceRow]:
    """A page of a subscription's rows, and one more, that the caller may read.

    Who has a role in a resource group only sees what is in there; who has none in the subscription is refused.
    `fetch` gives rows behind an id; `keep` chooses among them. Raises: `ArmError` 403.
    """
    scope = f"/subscriptions/{call.names['subscriptionId']}"
    after = call.query.get("$skiptoken", "")
    sees_all = call.may(Permission.READ, scope)
    subscriptions = call.parts.access.subscriptions(call.caller)
    if not sees_all and subscriptions is not None and call.names["subscriptionId"].lower() not in subscriptions:
        raise forbidden(call.caller, call.route, scope)
    found: list[ResourceRow] = []
    while len(found) <= PAGE and (rows := fetch(after)):
        found += [row for row in rows if keep(row) and (sees_all or call.may(Permission.READ, row.id))]
        after = rows[-1].key
        if len(rows) <= PAGE:
            break
    return found


def page(call: Call, rows: Sequence[ResourceRow], bodies: Callable[[Sequence[ResourceRow]], list[Any]]) -> Answer:
    """One page of `rows`, which may hold one more than a page to tell that there is a next one."""
    chosen = rows[:PAGE]
    answer: dict[str, Any] = {"value": bodies(chosen)}
    if len(rows) > PAGE:
        token = quote(chosen[-1].key, safe="")
        path = quote(call.resource_id, safe="/")
        asked = {name: call.query[name] for name in ("$filter", "$expand") if name in call.query}
        more = "".join(f"&{name}={quote(value, safe='')}" for name, value in asked.items())
        answer["nextLink"] = f"{call.base_url}{path}?api-version={call.api_version}{more}&$skipToken={token}"
    return Answer(200, answer)
