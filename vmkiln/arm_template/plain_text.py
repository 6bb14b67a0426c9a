"""How ARM writes a value as text, in concat, format, string and join; and how large values may become."""

import json
from typing import Any

from vmkiln.arm_template.budget import VALUES_A_STEP, Budget
from vmkiln.errors import Mistake, TemplateInvalid
from vmkiln.harmless_text import UNSTORABLE

MAXIMUM_TEXT = 1_048_576  # characters of any text that a function makes
MAXIMUM_VALUES = 200_000  # members and elements of any one value
PIECES_AT_ONCE = 256  # of JSON text
PIECES_A_STEP = 2


def as_text(value: Any, budget: Budget) -> str:
    """A value inside a longer text: `True`, `12`, JSON for arrays and objects, nothing for null."""
    match value:
        case None:
            return ""
        case str():
            return value
        case bool():
            return "True" if value else "False"
        case int() | float() | list() | dict():
            return json_text(value, budget)
    raise ValueError("a lambda cannot be written as text")


def json_text(value: Any, budget: Budget) -> str:
    """A value as JSON without spaces. Raises ValueError if that would be too long, or cost too much."""
    try:
        pieces, length = [], 0
        for piece in json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).iterencode(value):
            pieces.append(piece)
            length += len(piece)
            if len(pieces) % PIECES_AT_ONCE == 0:
                budget.work(PIECES_AT_ONCE // PIECES_A_STEP)
            if length > MAXIMUM_TEXT:
                raise ValueError(f"the text would be longer than {MAXIMUM_TEXT} characters")
    except TypeError:
        raise ValueError("a lambda cannot be written as text") from None
    budget.make(length)
    return "".join(pieces)


def check_size(value: Any, path: str, budget: Budget) -> None:
    """Raises TemplateInvalid if a value, written out, would be too large, or has text that no database keeps."""
    count = _check_size(value, path)
    try:
        budget.work(count // VALUES_A_STEP * 2)
    except ValueError as error:
        raise TemplateInvalid([Mistake(path or "resources", str(error))]) from None


def _check_size(value: Any, path: str) -> int:
    """How many values there are inside."""
    count, length, waiting = 0, 0, [value]
    while waiting:
        here = waiting.pop()
        count += 1
        if isinstance(here, str):
            length += len(here)
            if UNSTORABLE.search(here):
                raise TemplateInvalid([Mistake(path or "resources", "the text has NUL, or half of a surrogate pair")])
        elif isinstance(here, dict):
            waiting.extend(here)
            waiting.extend(here.values())
        elif isinstance(here, list):
            waiting.extend(here)
        elif not isinstance(here, int | float | None):
            raise TemplateInvalid([Mistake(path or "resources", "a lambda is no value")])
        if count > MAXIMUM_VALUES or length > 4 * MAXIMUM_TEXT:
            raise TemplateInvalid([Mistake(path or "resources", "the value becomes too large")])
    return count
