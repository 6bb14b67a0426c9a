"""Pages of a list: at most a hundred items, then a link to the next. Source: docs/reference/rest-api.md#paging."""

from collections.abc import Callable, Collection, Sequence
from typing import Any
from urllib.parse import quote

from vmkiln.api.identity.caller import Permission
from vmkiln.api.protocol.dispatcher import forbidden
from vmkiln.api.protocol.route import Answer, Call
from vmkiln.azure_names import subscription_scope
from vmkiln.errors import ArmError
from vmkiln.store.rows import ResourceRow

PAGE = 100
MOST_SCOPES = 10_000  # in one statement: SQLite takes 32,766 values
Fetch = Callable[[str, Collection[str] | None], list[ResourceRow]]


def _everything(_row: ResourceRow) -> bool:
    return True


def readable(call: Call, fetch: Fetch, *, keep: Callable[[ResourceRow], bool] = _everything) -> list[ResourceRow]:
    """A page of a list's rows, and one more, that the caller may read.

    Who has a role in a resource group only sees what is in there; who has none in the subscription is refused.
    `fetch` gives the rows that come after an id. It may leave out rows outside the scopes it is given (None: all rows
    count), so that a list costs a caller with one group no more than one with all. `keep` chooses among the rows.
    Raises: `ArmError` 403.
    """
    subscription = call.names["subscriptionId"]
    scopes: Collection[str] | None = None
    is_whole = call.may(Permission.READ, container_of(call.resource_id))
    if not is_whole:
        seen = call.rights.subscriptions
        if seen is not None and subscription.lower() not in seen:
            raise forbidden(call.caller, call.route, subscription_scope(subscription))
        scopes = call.rights.scopes_below(subscription_scope(subscription), Permission.READ)
        scopes = scopes if len(scopes) <= MOST_SCOPES else None
    after = call.query.get("$skiptoken", "")
    found: list[ResourceRow] = []
    while len(found) <= PAGE and (rows := fetch(after, scopes)):
        found += [row for row in rows if keep(row) and (is_whole or call.may(Permission.READ, row.id))]
        after = rows[-1].key
        if len(rows) <= PAGE:
            break
    return found


def container_of(path: str) -> str:
    """What the things of a list lie in: a subscription, a resource group or another resource; pure.

    `/subscriptions/S/providers/Microsoft.X/things` lists what lies in the subscription.
    """
    above, has_provider, rest = path.rpartition("/providers/")
    if not has_provider or rest.count("/") > 1:
        return path.rpartition("/")[0]
    return above


def most_wanted(call: Call) -> int | None:
    """How many items of a list the caller wants (`$top`); none when they do not say. Raises: `ArmError` 400."""
    text = call.query.get("$top", "")
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and int(text[:10]) > 0 and len(text) <= 9):
        raise ArmError(400, "InvalidTopInQueryString", "`$top` must be a whole number from 1", target="$top")
    return int(text)


def page(call: Call, rows: Sequence[ResourceRow], bodies: Callable[[Sequence[ResourceRow]], list[Any]]) -> Answer:
    """One page of `rows`, which may hold one more than a page to tell that there is a next one."""
    top = most_wanted(call)
    chosen = rows[: PAGE if top is None else min(PAGE, top)]
    answer: dict[str, Any] = {"value": bodies(chosen)}
    if len(rows) > PAGE and (top is None or top > PAGE):
        token = quote(chosen[-1].key, safe="")
        path = quote(call.resource_id, safe="/")
        asked = {name: call.query[name] for name in ("$filter", "$expand") if name in call.query}
        more = "".join(f"&{name}={quote(value, safe='')}" for name, value in asked.items())
        more += f"&$top={top - PAGE}" if top is not None else ""
        answer["nextLink"] = f"{call.base_url}{path}?api-version={call.api_version}{more}&$skipToken={token}"
    return Answer(200, answer)


def check_seen(call: Call) -> str:
    """The subscription of a call, in lower case. Raises: `ArmError` 404 for one the caller has no role in."""
    subscription_id = call.names["subscriptionId"].lower()
    own = call.rights.subscriptions
    if own is not None and subscription_id not in own:
        message = f"The subscription '{call.names['subscriptionId']}' could not be found."
        raise ArmError(404, "SubscriptionNotFound", message)
    return subscription_id
