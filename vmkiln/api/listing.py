"""Pages of a list: at most a hundred items, then a link to the next. Source: aib-reference.md, section 1 (paging)."""

from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote

from vmkiln.api.route import Answer, Call
from vmkiln.store.rows import ResourceRow

PAGE = 100


def page(call: Call, rows: Sequence[ResourceRow], bodies: Callable[[Sequence[ResourceRow]], list[Any]]) -> Answer:
    """One page of `rows`, which may hold one more than a page to tell that there is a next one."""
    chosen = rows[:PAGE]
    answer: dict[str, Any] = {"value": bodies(chosen)}
    if len(rows) > PAGE:
        token = quote(chosen[-1].key, safe="")
        path = quote(call.resource_id, safe="/")
        answer["nextLink"] = f"{call.base_url}{path}?api-version={call.api_version}&$skipToken={token}"
    return Answer(200, answer)
