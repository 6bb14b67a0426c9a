"""What a resource's page tells of it in words: its facts, and what it has to do with; pure."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from vmkiln.portal.trail import is_local

MOST_FACTS = 60
MOST_RELATIONS = 40
MOST_DEPTH = 4  # facts that lie deeper are in the JSON alone
OWN_TABLES = {"containers", "initContainers", "securityRules", "defaultSecurityRules", "instanceView", "events"}
OWN_TABLES |= {"runId", "logs"}  # they have links

VERBS = {"write": "create or update", "delete": "delete"}
IS_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[^ ]{0,20}")
RULES = ("securityRules", "defaultSecurityRules")  # without pages of their own
NEW_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


@dataclass(frozen=True)
class Relation:
    """Another resource that this one names, and where."""

    id: str
    where: str


def facts(resource: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The single values of a resource with the place of each (`hardwareProfile.vmSize`), but what has a table.

    Ids of other resources are relations and not facts; a list is told as one value when it has only texts and numbers.
    """
    found = [("Type", str(resource.get("type", ""))), ("Location", str(resource.get("location", "")))]
    found += [(name, text) for name, text in _values(resource.get("properties") or {}, "", 0) if not _is_id(text)]
    return [(name, text) for name, text in found if text][:MOST_FACTS]


def relations(resource: Mapping[str, Any]) -> list[Relation]:
    """The resources that this one names, each once, in the order of the JSON."""
    own = str(resource.get("id", "")).lower()
    found: dict[str, Relation] = {}
    for where, text in _values(resource, "", -MOST_DEPTH, with_tables=True):
        if _is_id(text) and text.lower() != own and not where.removeprefix("properties.").startswith(RULES):
            found.setdefault(text.lower(), Relation(text, where.removeprefix("properties.")))
    return list(found.values())[:MOST_RELATIONS]


def _values(value: Any, place: str, depth: int, *, with_tables: bool = False) -> Iterator[tuple[str, str]]:
    if depth > MOST_DEPTH:
        return
    if isinstance(value, dict):
        for name, inner in value.items():
            if with_tables or name not in OWN_TABLES:
                yield from _values(inner, f"{place}.{name}" if place else str(name), depth + 1, with_tables=with_tables)
    elif isinstance(value, list):
        if value and not with_tables and all(isinstance(item, str | int | float) for item in value):
            yield place, ", ".join(map(str, value))
            return
        for at, inner in enumerate(value):
            where = place if len(value) == 1 else f"{place}[{at}]"
            yield from _values(inner, where, depth + 1, with_tables=with_tables)
    elif isinstance(value, bool):
        yield place, "yes" if value else "no"
    elif value is not None:
        yield place, str(value)


def is_time(text: str) -> bool:
    """Whether a fact is a time as the API writes one; pure."""
    return bool(IS_TIME.fullmatch(text))


def _is_id(text: str) -> bool:
    return (text.lower().startswith("/subscriptions/") and text.count("/") >= 4) or is_local(text)


def kind_of(resource_id: str) -> str:
    """The type of a resource's id without its provider, in lower case, such as `containergroups`; pure."""
    return resource_id.rstrip("/").rpartition("/")[0].rpartition("/")[2].lower()


def told_act(operation: str) -> str:
    """An operation in words: `Microsoft.Compute/galleries/delete` is `Delete gallery`; pure."""
    *types, verb = operation.split("/")[1:] or [operation]
    if verb == "action" and types:
        verb = types.pop() if len(types) > 1 else ""
    done = VERBS.get(verb, _words(verb))
    thing = _one(_words(types[-1])) if types else ""
    between = " of " if " " in done and verb not in VERBS and thing else " "
    text = f"{done}{between}{thing}".strip()
    return text[:1].upper() + text[1:]


def _words(name: str) -> str:
    return NEW_WORD.sub(" ", name).lower()


def _one(words: str) -> str:
    if words.endswith("ies"):
        return f"{words[:-3]}y"
    return words[:-1] if words.endswith("s") and not words.endswith("ss") else words
