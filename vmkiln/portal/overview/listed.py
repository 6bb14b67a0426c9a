"""What pages with long lists share: words to look for, chosen values, and one page after another."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from vmkiln.portal.visit import PREFIX, Visit

SKIP = "$skipToken"
MOST_WORDS = 100
AT_ONCE = 100  # of a list that the API gives as a whole
MOST_FOLLOWED = 5000  # items of a list, of which the API has 100 a page
DAYS = ("1", "7", "30", "90")  # how far back a list may be asked for


def asked(visit: Visit, *names: str) -> dict[str, str]:
    """Those parameters of a page's address that have a value, each cut to a length that means something."""
    query = visit.request.query_params
    return {name: value[:MOST_WORDS] for name in names if (value := query.get(name, "").strip())}


@dataclass(frozen=True)
class Part:
    """One page of a list: what is shown of all that was `found`; `number` is from 1.

    `is_cut` says that the list has more than was asked for.
    """

    shown: Sequence[Any]
    number: int
    pages: int
    found: int
    is_cut: bool = False


def page_number(text: str) -> int:
    """The number of a page, 1 for what is none; pure."""
    return max(1, int(text)) if text.isdecimal() and len(text) < 6 else 1


def part_of(items: Sequence[Any], visit: Visit, *, size: int = AT_ONCE, of: Iterable[Sequence[Any]] = ()) -> Part:
    """The page of a list that the visitor's address asks for (`page`); `of` are the API's lists it is made from."""
    number = page_number(visit.request.query_params.get("page", ""))
    shown, pages = items[(number - 1) * size : number * size], -(-len(items) // size)
    return Part(shown, number, pages, len(items), any(len(one) >= MOST_FOLLOWED for one in of))


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
