"""The ARM functions on text.

Source: the "String functions for ARM templates" reference.
"""

import base64
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, unquote, urljoin

from vmkiln.arm_template.budget import LETTERS_A_STEP, Arguments, Budget
from vmkiln.arm_template.functions.number_format import formatted_number
from vmkiln.arm_template.functions.unique_string import unique_string
from vmkiln.arm_template.lenient_json import read_json
from vmkiln.arm_template.plain_text import MAXIMUM_TEXT, as_text, json_text
from vmkiln.arm_template.values import Function, array_in, joined, kind_of, needs_int, needs_string, same
from vmkiln.errors import TemplateInvalid

JSON_LETTERS_A_STEP = 2
JSON_BYTES_A_LETTER = 20  # `[[],[],...` is the worst: 64 bytes for three letters
ELEMENT_BYTES = 64  # of a short text in an array
_HOLE = re.compile(r"\{\{|\}\}|\{([0-9]+) {0,9}(?:, {0,9}(-?[0-9]{1,4}) {0,9})?(?::([^{}]*))?\}|[{}]")


def _format(arguments: Arguments) -> str:
    pattern, *values = arguments
    pieces, at = [], 0
    text, budget = needs_string(pattern, "the format"), arguments.budget
    for hole in _HOLE.finditer(text):
        budget.work(1)
        pieces.append(text[at : hole.start()])
        at = hole.end()
        if hole[0] in ("{{", "}}"):
            pieces.append(hole[0][0])
        elif hole[1] is None:
            raise ValueError("a lone brace stands in the format; write it twice")
        elif len(hole[1]) > 4 or int(hole[1]) >= len(values):
            raise ValueError(f"the format asks for argument {{{hole[1]}}}, {len(values)} are given")
        else:
            shown = _formatted(values[int(hole[1])], hole[3] or "", budget)
            width = int(hole[2] or 0)
            budget.make(max(len(shown), abs(width)))
            pieces.append(shown.rjust(width) if width >= 0 else shown.ljust(-width))
    return joined([*pieces, text[at:]])


def _formatted(value: Any, pattern: str, budget: Budget) -> str:
    if not pattern or isinstance(value, bool) or not isinstance(value, int | float):
        return as_text(value, budget)  # as .NET does: only numbers obey a pattern
    shown = formatted_number(value, pattern)
    if shown is None:
        raise ValueError(f"the format `{pattern[:60]}` is not supported for {kind_of(value)}")
    return shown


def _replace(arguments: Arguments) -> str:
    text, old, new = (needs_string(argument, "every argument") for argument in arguments)
    if not old:
        raise ValueError("the text to look for is empty")
    if len(text) + text.count(old) * (len(new) - len(old)) > MAXIMUM_TEXT:
        raise ValueError(f"the text would be longer than {MAXIMUM_TEXT} characters")
    return text.replace(old, new)


def _substring(arguments: Arguments) -> str:
    text, start = needs_string(arguments[0], "the text"), needs_int(arguments[1], "the start")
    length = needs_int(arguments[2], "the length") if len(arguments) > 2 else len(text) - start
    if start < 0 or length < 0 or start + length > len(text):
        raise ValueError(f"the text has {len(text)} characters; {length} from {start} on are asked for")
    return text[start : start + length]


def _split(arguments: Arguments) -> list[str]:
    text, marks = needs_string(arguments[0], "the text"), arguments[1]
    marks = [needs_string(mark, "every delimiter") for mark in (marks if isinstance(marks, list) else [marks])]
    plain = [mark for mark in marks if mark]
    arguments.budget.work(len(plain) * len(text) // LETTERS_A_STEP)  # each is tried at each letter
    marks = [re.escape(mark) for mark in plain]
    arguments.budget.make(ELEMENT_BYTES * sum(text.count(mark) for mark in set(plain)))
    return re.split("|".join(sorted(marks, key=len, reverse=True)), text) if marks else [text]


def _join(arguments: Arguments) -> str:
    return joined(
        [as_text(item, arguments.budget) for item in array_in(arguments[0])],
        needs_string(arguments[1], "the delimiter"),
    )


def _index_of(arguments: Arguments, *, from_end: bool = False) -> int:
    where, what = arguments
    if isinstance(where, str):
        folded, wanted = where.lower(), as_text(what, arguments.budget).lower()
        if not from_end:
            return folded.find(wanted)
        at = folded[::-1].find(wanted[::-1])  # `rfind` takes the product of both lengths where they are nearly alike
        return len(folded) - at - len(wanted) if at >= 0 else -1
    places = [index for index, item in enumerate(array_in(where)) if same(item, what, arguments.budget)]
    return (places[-1] if from_end else places[0]) if places else -1


def _pad_left(arguments: Arguments) -> str:
    width = needs_int(arguments[1], "the width")
    mark = needs_string(arguments[2], "the padding") if len(arguments) > 2 else " "
    if not 0 <= width <= MAXIMUM_TEXT or len(mark) != 1:
        raise ValueError("the width is out of range, or the padding is not one character")
    return as_text(arguments[0], arguments.budget).rjust(width, mark)


def _json(arguments: Arguments) -> Any:
    text = needs_string(arguments[0], "the argument")
    arguments.budget.work(len(text) // JSON_LETTERS_A_STEP)
    arguments.budget.make(len(text) * JSON_BYTES_A_LETTER)
    try:
        return read_json(text, file_name="the text", bare_names=True, single_quotes=True)
    except TemplateInvalid as error:
        raise ValueError(f"{error.mistakes[0].path}: {error.mistakes[0].message}") from None


def _json_in_base64(arguments: Arguments) -> Any:
    text = _from_base64(needs_string(arguments[0], "the argument"))
    return _json(Arguments([text], arguments.budget))


def _from_base64(text: str) -> str:
    try:
        return base64.b64decode(re.sub(r"[ \t\r\n]+", "", text), validate=True).decode()
    except ValueError:
        raise ValueError("the text is not base64 of UTF-8 text") from None


def _data_uri(text: str) -> str:
    return f"data:text/plain;charset=utf8;base64,{base64.b64encode(text.encode()).decode()}"


def _from_data_uri(text: str) -> str:
    found = re.fullmatch(r"data:([^,;]*)((?:;[^,;]*)*),(.*)", text, re.DOTALL | re.IGNORECASE)
    if not found:
        raise ValueError("the text is not a data URI such as data:;base64,aGk=")
    if found[2].lower().endswith(";base64"):
        return _from_base64(unquote(found[3]))
    return unquote(found[3])


def _uri(arguments: Arguments) -> str:
    base, relative = (needs_string(argument, "every argument") for argument in arguments)
    if not re.match(r"[A-Za-z][A-Za-z0-9+.\-]*:", base):
        raise ValueError(f"`{base[:80]}` is not an address to begin with, such as https://example.com/folder/")
    return urljoin(base, relative)


def _like(arguments: Arguments) -> bool:
    """Whether a text is as a pattern says, in which `*` stands for any text; without regard to case."""
    text, pattern = (_lower(argument) for argument in arguments)
    first, *others = pattern.split("*")
    if not others:
        return text == first
    last = others.pop()
    if not text.startswith(first) or not text.endswith(last) or len(text) < len(first) + len(last):
        return False
    at, end = len(first), len(text) - len(last)
    arguments.budget.work(len(others))
    for piece in filter(None, others):
        at = text.find(piece, at, end) + len(piece)
        if at < len(piece):
            return False
    return True


def _lower(value: Any) -> str:
    return needs_string(value, "every argument").lower()


def _string(arguments: Arguments) -> str:
    value = arguments[0]
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, bool):
        return as_text(value, arguments.budget)
    return json_text(value, arguments.budget)


def _text(change: Callable[[str], Any]) -> Function:
    return lambda arguments: change(needs_string(arguments[0], "the argument"))


TEXT_FUNCTIONS: dict[str, tuple[int, int, Function]] = {
    "base64": (1, 1, _text(lambda text: base64.b64encode(text.encode()).decode())),
    "base64tojson": (1, 1, _json_in_base64),
    "base64tostring": (1, 1, _text(_from_base64)),
    "datauri": (1, 1, _text(_data_uri)),
    "datauritostring": (1, 1, _text(_from_data_uri)),
    "endswith": (2, 2, lambda given: _lower(given[0]).endswith(_lower(given[1]))),
    "format": (1, 1000, _format),
    "indexof": (2, 2, _index_of),
    "join": (2, 2, _join),
    "json": (1, 1, _json),
    "lastindexof": (2, 2, lambda given: _index_of(given, from_end=True)),
    "like": (2, 2, _like),
    "padleft": (2, 3, _pad_left),
    "replace": (3, 3, _replace),
    "split": (2, 2, _split),
    "startswith": (2, 2, lambda given: _lower(given[0]).startswith(_lower(given[1]))),
    "string": (1, 1, _string),
    "substring": (2, 3, _substring),
    "tolower": (1, 1, _text(str.lower)),
    "toupper": (1, 1, _text(str.upper)),
    "trim": (1, 1, _text(str.strip)),
    "uniquestring": (1, 100, unique_string),
    "uri": (2, 2, _uri),
    "uricomponent": (1, 1, _text(lambda text: quote(text, safe="-_.~"))),
    "uricomponenttostring": (1, 1, _text(unquote)),
}
