"""Where in a document something stands."""

import re

LONGEST_NAME = 120


def member_path(path: str, name: str | int) -> str:
    """The path of a member or element below `path`: `a.b`, `a[0]` or `a['odd name']`; long names are cut."""
    if isinstance(name, int):
        return f"{path}[{name}]"
    if len(name) > LONGEST_NAME:  # each element below would have a copy of it
        name = f"{name[:LONGEST_NAME]}..."
    if not re.fullmatch(r"[\w$-]+", name):
        return f"{path}['{name}']"
    return f"{path}.{name}" if path else name
