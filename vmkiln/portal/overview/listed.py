"""What pages with long lists share: words to look for, chosen values, and one page after another."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from vmkiln.portal.visit import PREFIX, Visit

SKIP = "$skipToken"
MOST_WORDS = 100
DAYS = ("1", "7", "30", "90")  # how far back a list may be asked for


def asked(visit: Visit, *names: str) -> dict[str, str]:
    """Those parameters of a page's address that have a value, each cut to a length that means something."""
    query = visit.request.query_params
    return {name: value[:MOST_WORDS] for name in names if (value := query.get(name, "").strip())}


async def one_page(visit: Visit, path: str, query: Mapping[str, str]) -> tuple[list[dict[str, Any]], str]:
    """A page of a list of the API, and the token of the next; '' at the end. The visitor's `after` is where it begins.

    Raises: `ArmError`.
    """
    token = visit.request.query_params.get("after", "")
    answer = await visit.api.ask("GET", path, query={**query, **({SKIP: token[:200]} if token else {})})
    following = parse_qs(urlsplit(answer.get("nextLink") or "").query)
    return answer["value"], next(iter(following.get(SKIP, [])), "")


def next_address(path: str, query: Mapping[str, str], after: str) -> str:
    """The address of the next page of a list; '' when there is none; pure."""
    return f"{PREFIX}{path}?{urlencode({**query, 'after': after})}" if after else ""
