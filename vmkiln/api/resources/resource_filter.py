"""The `$filter` of lists of resources: comparisons joined by `and` and `or`; pure.

resourceGroup eq 'rg1'
tagName eq 'team' and tagValue eq 'web'
resourceType eq 'Microsoft.Compute/images' or substringof('golden', name)
"""

import re
from collections.abc import Callable, Mapping

from vmkiln.errors import ArmError
from vmkiln.store.rows import ResourceRow

Filter = Callable[[ResourceRow, Mapping[str, str]], bool]
_COMPARISON = re.compile(r"\s*([A-Za-z]+)\s+(eq|ne)\s+'((?:[^']|'')*)'\s*")
_SUBSTRING = re.compile(r"\s*substringof\s*\(\s*'((?:[^']|'')*)'\s*,\s*([A-Za-z]+)\s*\)\s*", re.IGNORECASE)
_JOIN = re.compile(r"(and|or)\b", re.IGNORECASE)
MOST_TERMS = 20
NAMES = {"resourcetype", "resourcegroup", "name", "location", "tagname", "tagvalue"}


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
        case "tagname":
            return list(row.tags)
    return list(row.tags.values())


def parse_filter(text: str) -> Filter:
    """What a filter lets through; everything when it is empty. Raises: `ArmError` 400.

    `and` binds more strongly than `or`; a tag's value goes with the tag's name beside it.
    """
    if not text.strip():
        return lambda _row, _more: True
    choices: list[list[tuple[str, str, str]]] = [[]]
    position = 0
    while position < len(text):
        term, position = _term(text, position)
        choices[-1].append(term)
        if position >= len(text):
            break
        join = _JOIN.match(text, position)
        if join is None or sum(map(len, choices)) > MOST_TERMS:
            raise _wrong(text)
        if join[1].lower() == "or":
            choices.append([])
        position = join.end()
        if position >= len(text):
            raise _wrong(text)

    def lets_through(row: ResourceRow, _more: Mapping[str, str]) -> bool:
        return any(_all_hold(row, terms) for terms in choices)

    return lets_through


def group_named(text: str) -> str:
    """The resource group a filter asks for; '' when it asks for none; pure."""
    found = re.search(r"resourceGroup\s+eq\s+'([^']*)'", text, re.IGNORECASE)
    return found[1] if found else ""


def _term(text: str, position: int) -> tuple[tuple[str, str, str], int]:
    if found := _COMPARISON.match(text, position):
        name, how, value = found[1].lower(), found[2], found[3]
    elif found := _SUBSTRING.match(text, position):
        name, how, value = found[2].lower(), "contains", found[1]
    else:
        raise _wrong(text)
    if name not in NAMES:
        raise _wrong(text)
    return (name, how, value.replace("''", "'").lower()), found.end()


def _wrong(text: str) -> ArmError:
    message = f"The filter '{text[:200]}' is not understood."
    return ArmError(
        400, "InvalidFilterInQueryString", message, target="$filter", hint="such as resourceType eq 'x' and name eq 'y'"
    )


def _all_hold(row: ResourceRow, terms: list[tuple[str, str, str]]) -> bool:
    names = [value for name, how, value in terms if name == "tagname" and how == "eq"]
    for name, how, value in terms:
        values = [item.lower() for item in _values(row, name)]
        if name == "tagvalue" and names:
            values = [item.lower() for tag, item in row.tags.items() if tag.lower() in names]
        holds = any(value in item for item in values) if how == "contains" else value in values
        if holds == (how == "ne"):
            return False
    return True
