"""The user's virtual networks, as the command line is given them in files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from vmkiln.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from vmkiln.staging.user_network import UserVirtualNetwork


def read_virtual_networks(files: Sequence[Path] | None) -> dict[str, UserVirtualNetwork]:
    """The user's virtual networks in these files, each one resource, an array of them, or an object with `value`.

    Raises: `InputError` for what cannot be read.
    """
    if not files:
        return {}
    from vmkiln.cli.template_text import read_text
    from vmkiln.staging.user_network import virtual_networks_of

    bodies: list[Any] = []
    for path in files:
        try:
            content = json.loads(read_text(path))
        except json.JSONDecodeError as error:
            raise InputError(f"--virtual-networks: {path} is not JSON: {error}") from error
        listed = content.get("value", [content]) if isinstance(content, dict) else content
        bodies += listed if isinstance(listed, list) else [listed]
    if wrong := [body for body in bodies if not isinstance(body, dict)]:
        raise InputError(f"--virtual-networks: `{str(wrong[0])[:60]}` is no resource")
    return virtual_networks_of(bodies)
