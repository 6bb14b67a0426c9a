"""JSON as Bicep writes it; pure.

Source: "Bicep data types" (strings, their escapes and interpolation; objects; arrays, one item a line).
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

INDENT = "  "
IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
ESCAPED = {"\\": "\\\\", "'": "\\'", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


@dataclass(frozen=True)
class Named:
    """A parameter's value, in the place of a text."""

    name: str


@dataclass(frozen=True)
class Joined:
    """A text of pieces, some of which are values of parameters."""

    pieces: tuple[str | Named, ...]


def text_of(value: Any, depth: int = 0) -> str:
    """A value as an expression of Bicep; its lines after the first are indented for that depth."""
    inner, outer = INDENT * (depth + 1), INDENT * depth
    match value:
        case Named(name):
            return name
        case Joined(pieces):
            return "'" + "".join(_piece(piece) for piece in pieces) + "'"
        case Mapping():
            members = (f"{inner}{_key(str(name))}: {text_of(item, depth + 1)}\n" for name, item in value.items())
            return "{\n" + "".join(members) + outer + "}" if value else "{}"
        case list():
            items = (f"{inner}{text_of(item, depth + 1)}\n" for item in value)
            return "[\n" + "".join(items) + outer + "]" if value else "[]"
        case str():
            return f"'{_escaped(value)}'"
        case float():  # which Bicep has no word for
            return f"json('{value!r}')"
        case _:
            return json.dumps(value)


def _key(name: str) -> str:
    return name if IDENTIFIER.fullmatch(name) else f"'{_escaped(name)}'"


def _piece(piece: str | Named) -> str:
    return f"${{{piece.name}}}" if isinstance(piece, Named) else _escaped(piece)


def _escaped(text: str) -> str:
    found = "".join(ESCAPED.get(letter) or _visible(letter) for letter in text)
    return found.replace("${", "\\${")


def _visible(letter: str) -> str:
    return letter if letter.isprintable() else f"\\u{{{ord(letter):x}}}"
