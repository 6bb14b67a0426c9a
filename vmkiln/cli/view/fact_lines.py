"""The facts of a run as lines that a person reads; `--json` has them as they are kept."""

from collections.abc import Iterator, Mapping
from typing import Any

from vmkiln.harmless_text import harmless

UNITS = {
    "_mib": "MiB",
    "_kib": "KiB",
    "_bytes": "bytes",
    "_seconds": "s",
}  # by the end of a fact's name
BY_NAME = ("packets", "host_faults")  # facts whose members are names of rules and of hosts, and are told as they are
MOST_DEPTH = 4  # what lies deeper is in the JSON alone


def fact_lines(facts: Mapping[str, Any], *, indent: str = "  ") -> list[str]:
    """A line for each single value, `name: value`; what has values of its own is a heading above them. Pure.

    A name's underscores are spaces; its unit stands behind the number. What is empty has no line.
    """
    return list(_lines(facts, indent, MOST_DEPTH))


def _lines(facts: Mapping[str, Any], indent: str, depth: int, *, are_names: bool = False) -> Iterator[str]:
    for key, value in facts.items():
        name, unit = (harmless(str(key)), "") if are_names else _name_and_unit(str(key))
        if isinstance(value, Mapping):
            inner = list(_lines(value, f"{indent}  ", depth - 1, are_names=key in BY_NAME)) if depth > 1 else []
            yield from (f"{indent}{name}:", *inner) if inner else ()
        elif isinstance(value, list | tuple):
            items = [_text(item) for item in value if not isinstance(item, Mapping | list | tuple)]
            yield from (f"{indent}{name}: {', '.join(items)}{unit}",) if items else ()
        elif value not in (None, ""):
            yield f"{indent}{name}: {_text(value)}{unit}"


def _name_and_unit(key: str) -> tuple[str, str]:
    for end, unit in UNITS.items():
        if key.endswith(end):
            return _words(key.removesuffix(end)), f" {unit}"
    return _words(key), ""


def _words(key: str) -> str:
    return harmless(key.replace("_", " "))


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return harmless(str(value))
