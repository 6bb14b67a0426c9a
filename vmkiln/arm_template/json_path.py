"""Where in a document something stands."""

import re


def member_path(path: str, name: str | int) -> str:
    """The path of a member or element below `path`: `a.b`, `a[0]` or `a['odd name']`."""
    if isinstance(name, int):
        return f"{path}[{name}]"
    if not re.fullmatch(r"[\w$-]+", name):
        return f"{path}['{name}']"
    return f"{path}.{name}" if path else name
