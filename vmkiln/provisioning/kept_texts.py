"""Texts with secrets are kept apart from the rest of a template: what is shown and stored has a mark in their place.

`KEPT` stands where a secret was. Whoever sends a template back as they read it means the same secret: a text that has
the mark is put back when the kept template has the very same text, at the same place or, when it was moved, at only
one other. Anything else with a mark is refused, for the mark itself is never meant. Pure.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from vmkiln.arm_template.json_path import member_path
from vmkiln.errors import Mistake
from vmkiln.secrecy.secret_mask import SecretMask

KEPT = "***kept***"


def kept_apart(value: Any, mask: SecretMask, path: str) -> tuple[Any, dict[str, str]]:
    """A JSON value with `KEPT` in the place of each secret, and the whole texts that have one, by their paths."""
    kept: dict[str, str] = {}

    def shown(item: Any, where: str) -> Any:
        if isinstance(item, Mapping):
            return {name: shown(inner, member_path(where, str(name))) for name, inner in item.items()}
        if isinstance(item, list | tuple):
            return [shown(inner, member_path(where, index)) for index, inner in enumerate(item)]
        if not isinstance(item, str):
            return item
        told = marked(item, mask)
        if told != item:
            kept[where] = item
        return told

    return shown(value, path), kept


def marked(text: str, mask: SecretMask) -> str:
    """A text with `KEPT` in the place of each secret."""
    if text in mask.secrets:
        return KEPT
    found, at = list[str](), 0
    for start, end in mask.spans(text):
        found += [text[at:start], KEPT]
        at = end
    return "".join((*found, text[at:]))


def put_back(value: Any, kept: Mapping[str, str], path: str) -> Any:
    """The value as it was before `kept_apart`."""
    if not kept:
        return value
    if isinstance(value, Mapping):
        return {name: put_back(inner, kept, member_path(path, str(name))) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [put_back(inner, kept, member_path(path, index)) for index, inner in enumerate(value)]
    return kept.get(path, value) if isinstance(value, str) and KEPT in value else value


def sent_back(value: Any, shown: Any, kept: Mapping[str, str], path: str) -> tuple[Any, list[Mistake]]:
    """What a caller sent, with kept texts in the place of those that they read; and the marks that mean nothing.

    `shown` is the template as it is shown, `kept` what was taken out of it.
    """
    told = {where: text for where, text in texts_of(shown, path) if where in kept}
    mistakes: list[Mistake] = []

    def meant(item: Any, where: str) -> Any:
        if isinstance(item, Mapping):
            for name in item:
                if KEPT in str(name):
                    mistakes.append(_means_nothing(member_path(where, str(name))))
            return {name: meant(inner, member_path(where, str(name))) for name, inner in item.items()}
        if isinstance(item, list):
            return [meant(inner, member_path(where, index)) for index, inner in enumerate(item)]
        if not isinstance(item, str) or KEPT not in item:
            return item
        if told.get(where) == item:
            return kept[where]
        others = {kept[place] for place, text in told.items() if text == item}
        if len(others) == 1:
            return others.pop()
        mistakes.append(_means_nothing(where))
        return item

    return meant(value, path), mistakes


def _means_nothing(path: str) -> Mistake:
    message = f"`{KEPT}` stands for a secret that is kept, and none is kept for this text"
    return Mistake(path, message, "write the secret itself, or the whole text as it was read")


def texts_of(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Every text in a JSON value, with its path."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from texts_of(inner, member_path(path, str(name)))
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from texts_of(inner, member_path(path, index))
    elif isinstance(value, str):
        yield path, value
