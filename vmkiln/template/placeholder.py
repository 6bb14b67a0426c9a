"""Placeholders such as `<region>`, which template files carry for `sed` to fill in.

A placeholder is replaced only where its name was given as a parameter: `<` also stands in scripts.
"""

import re
from collections.abc import Mapping
from typing import Any

from vmkiln.arm_template.deployment_parameters import GivenParameter

_PLACEHOLDER = re.compile(r"<([A-Za-z][\w.-]*)>")


def fill_placeholders(
    body: dict[str, Any], given: Mapping[str, GivenParameter]
) -> tuple[dict[str, Any], frozenset[str]]:
    """`body` with each placeholder that has a value replaced, in values and in member names; and the names used."""
    used: set[str] = set()

    def filled(value: Any) -> Any:
        if isinstance(value, str):
            return _PLACEHOLDER.sub(replaced, value)
        if isinstance(value, list):
            return [filled(item) for item in value]
        if isinstance(value, dict):
            return {filled(key): filled(item) for key, item in value.items()}
        return value

    def replaced(found: re.Match[str]) -> str:
        name = found[1].lower()
        if name not in given:
            return found[0]
        used.add(name)
        return str(given[name].value)

    result: dict[str, Any] = filled(body)
    return result, frozenset(used)
