"""Values on the command line that are no text, bytes that are not UTF-8, half of a surrogate pair, NUL, or no number.

A name of a file may be any bytes but NUL; everything else is put into texts, and is refused here by its option's name.
The value itself is not told, for it may be a secret. `nan` and `inf` are numbers for Python, and none for JSON.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

from vmkiln.errors import InputError


def fault_of(text: str) -> str:
    """What keeps a value from being a text, '' for nothing; pure."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return "holds bytes that are not UTF-8 text"
    return ""


def keep_to_text(command: Any) -> None:
    """Have a command, and those below it, refuse such values before they are looked at in any other way."""
    for option in command.params:
        option.process_value = _checking(option, option.process_value)
    for below in getattr(command, "commands", {}).values():
        keep_to_text(below)


def _checking(option: Any, theirs: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    shown = max(option.opts, key=len) if option.param_type_name == "option" else option.metavar or option.name

    def refuse(fault: str) -> None:
        if fault:
            raise InputError(f"{shown}: what was given {fault}", hint="write it as UTF-8 text, without NUL")

    def process(context: Any, value: Any) -> Any:
        for text in _texts(value):
            refuse("holds NUL" if "\0" in text else "")
        found = theirs(context, value)
        for text in _texts(found):  # a name of a file is none any more
            refuse(fault_of(text))
        if isinstance(found, float) and not math.isfinite(found):
            raise InputError(f"{shown}: what was given is no number that can be counted to", hint="such as 24")
        return found

    return process


def _texts(value: Any) -> Iterator[str]:
    """The texts that a value is made of; pure."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _texts(one)
