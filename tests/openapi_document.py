"""The OpenAPI document as the repository keeps it: sorted, and short enough for a change of it to be read.

`script/openapi` runs this as a program, which writes it anew.
"""

import json
from pathlib import Path
from typing import Any

from vmkiln.api.about.openapi import document
from vmkiln.api.resource_types import ALL_ROUTES

FILE = Path(__file__).parents[1] / "docs/reference/openapi.json"
URL = "https://localhost:8443"
WIDTH = 120


def printed(value: Any, indent: int = 0, used: int = 0) -> str:
    """JSON, in which whatever fits into a line stands on one; `used` counts what stands on the first line already."""
    flat = json.dumps(value, sort_keys=True, ensure_ascii=False)
    if indent + used + len(flat) < WIDTH or not isinstance(value, dict | list):
        return flat
    inner = " " * (indent + 1)
    if isinstance(value, list):
        items = [printed(item, indent + 1) for item in value]
        return "[\n" + ",\n".join(inner + item for item in items) + "\n" + " " * indent + "]"
    members = [(f"{json.dumps(key)}: ", value[key]) for key in sorted(value)]
    lines = [inner + key + printed(member, indent + 1, len(key)) for key, member in members]
    return "{\n" + ",\n".join(lines) + "\n" + " " * indent + "}"


def wanted() -> str:
    """The text that the file must have. The package's version is left out: a release is no change of the interface."""
    found = document(ALL_ROUTES, url=URL)
    found["info"]["version"] = "0"
    return printed(found) + "\n"


if __name__ == "__main__":
    FILE.write_text(wanted())
