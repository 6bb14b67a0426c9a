"""The `$filter` of lists of resources: comparisons joined by `and` and `or`, in parentheses or not; pure.

resourceGroup eq 'rg1'
tagName eq 'team' and tagValue eq 'web'
resourceType eq 'Microsoft.Compute/images' or substringof('golden', name)
(subscriptionId eq 'S') and (resourceType eq 'a/b' or resourceType eq 'c/d')
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from vmkiln.errors import ArmError
from vmkiln.store.rows import ResourceRow

Filter = Callable[[ResourceRow, Mapping[str, str]], bool]
_COMPARISON = re.compile(r"\s*([A-Za-z]+)\s+(eq|ne)\s+'((?:[^']|'')*)'\s*", re.IGNORECASE)
_SUBSTRING = re.compile(r"\s*substringof\s*\(\s*'((?:[^']|'')*)'\s*,\s*([A-Za-z]+)\s*\)\s*", re.IGNORECASE)
_AND, _OR = re.compile(r"and\b", re.IGNORECASE), re.compile(r"or\b", re.IGNORECASE)
_OPEN, _CLOSE = re.compile(r"\s*\("), re.compile(r"\s*\)\s*")
_SUBSCRIPTION = re.compile(r"subscriptionId\s+eq\s+'([0-9A-Za-z-]{1,64})'", re.IGNORECASE)
MOST_TERMS = 20
DEEPEST = 8  # parentheses in one another
NAMES = {"resourcetype", "resourcegroup", "name", "location", "tagname", "tagvalue", "subscriptionid"}


@dataclass(frozen=True)
class _Term:
    """`name eq 'value'`, all in lower case; `how` is `eq`, `ne` or `contains`."""

    name: str
    how: str
    value: str


@dataclass(frozen=True)
class _Joined:
    """Conditions of which all, or with `is_any` one, must hold."""

    is_any: bool
    parts: tuple["_Joined | _Term", ...]


def _values(row: ResourceRow, name: str) -> list[str]:
    match name:
        case "resourcetype":
            return [row.type]
        case "resourcegroup":
            return [row.resource_group]
        case "name":
            return [row.name]
        case "location":
            return [row.location]
        case "subscriptionid":
            return [row.subscription_id]
        case "tagname":
            return list(row.tags)
    return list(row.tags.values())


def parse_filter(text: str) -> Filter:
    """What a filter lets through; everything when it is empty. Raises: `ArmError` 400.

    `and` binds more strongly than `or`; a tag's value goes with the tag's name beside it.
    """
    if not text.strip():
        return lambda _row, _more: True
    wanted = _Parser(text).whole()
    return lambda row, _more: _holds(row, wanted, [])


def group_named(text: str) -> str:
    """The resource group a filter asks for; '' when it asks for none; pure."""
    found = re.search(r"resourceGroup\s+eq\s+'([^']*)'", text, re.IGNORECASE)
    return found[1] if found else ""


def subscription_named(text: str) -> str:
    """The subscription a filter asks for; '' when it asks for none; pure."""
    found = _SUBSCRIPTION.search(text)
    return found[1] if found else ""


class _Parser:
    """One pass over a filter; `_at` is how far it has come. Raises: `ArmError` 400."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._terms = 0

    def whole(self) -> _Joined | _Term:
        found = self._choices(0)
        if self._at < len(self._text):
            raise _wrong(self._text)
        return found

    def _choices(self, depth: int) -> _Joined | _Term:
        parts = [self._conditions(depth)]
        while self._takes(_OR):
            parts.append(self._conditions(depth))
        return parts[0] if len(parts) == 1 else _Joined(True, tuple(parts))

    def _conditions(self, depth: int) -> _Joined | _Term:
        parts = [self._one(depth)]
        while self._takes(_AND):
            parts.append(self._one(depth))
        return parts[0] if len(parts) == 1 else _Joined(False, tuple(parts))

    def _one(self, depth: int) -> _Joined | _Term:
        self._terms += 1
        if self._terms > MOST_TERMS or depth > DEEPEST:
            raise _wrong(self._text)
        if self._takes(_OPEN):
            found = self._choices(depth + 1)
            if not self._takes(_CLOSE):
                raise _wrong(self._text)
            return found
        if term := self._takes(_COMPARISON):
            name, how, value = term[1].lower(), term[2].lower(), term[3]
        elif term := self._takes(_SUBSTRING):
            name, how, value = term[2].lower(), "contains", term[1]
        else:
            raise _wrong(self._text)
        if name not in NAMES:
            raise _wrong(self._text)
        return _Term(name, how, value.replace("''", "'").lower())

    def _takes(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        found = pattern.match(self._text, self._at)
        self._at = found.end() if found else self._at
        return found


def _wrong(text: str) -> ArmError:
    message = f"The filter '{text[:200]}' is not understood."
    return ArmError(
        400, "InvalidFilterInQueryString", message, target="$filter", hint="such as resourceType eq 'x' and name eq 'y'"
    )


def _holds(row: ResourceRow, wanted: _Joined | _Term, tag_names: list[str]) -> bool:
    """Whether a row fits; `tag_names` are those that are asked for beside it."""
    if isinstance(wanted, _Joined):
        if wanted.is_any:
            return any(_holds(row, part, tag_names) for part in wanted.parts)
        terms = [part for part in wanted.parts if isinstance(part, _Term)]
        named = tag_names + [term.value for term in terms if term.name == "tagname" and term.how == "eq"]
        return all(_holds(row, part, named) for part in wanted.parts)
    values = [item.lower() for item in _values(row, wanted.name)]
    if wanted.name == "tagvalue" and tag_names:
        values = [item.lower() for tag, item in row.tags.items() if tag.lower() in tag_names]
    if wanted.how == "contains":
        return any(wanted.value in item for item in values)
    return (wanted.value in values) == (wanted.how == "eq")
