"""Which values of a deployment are secret: those of secure parameters and outputs, and what expressions make of them.

A function that puts secrets into a longer text gives nothing new: they are found in it. What another one makes of a
secret (`base64`, `toUpper`, `substring`, `uniqueString`) has it no more to be seen, and is a secret itself. What a
condition chooses is not followed.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from vmkiln.secrecy.encoded_forms import LEAST_LETTERS

MOST_FOLLOWED = 1_000  # secrets of one deployment whose derived values are secret, too
LETTERS_IN_A_STEP = 4_096
LEAST_KEY_LETTERS = 32
TELL_LITTLE = frozenset({"length", "indexof", "lastindexof", "compare", "min", "max"})


class SecretValues:
    """The secrets of one deployment, with those nested in it; `texts` grows as values are worked out."""

    def __init__(self) -> None:
        self.texts: set[str] = set()

    def add(self, value: Any) -> None:
        """Every text and number in a value is secret."""
        self.texts.update(text for text in texts_in(value) if text)

    def follow(self, function: str, arguments: Sequence[Any], result: Any) -> int:
        """See what a function made of secrets; gives the steps that this cost."""
        if not self.texts or len(self.texts) > MOST_FOLLOWED or function.lower() in TELL_LITTLE:
            return 0
        found = list(texts_in(arguments))
        given = set(found)
        letters = len(found) + sum(map(len, given))
        used = {secret for secret in self.texts if _is_in(secret, given)}
        if used:
            made = set(texts_in(result))
            letters += sum(map(len, made))
            if not all(_is_in(secret, made) for secret in used):
                self.texts.update(text for text in made - given if text)
        return len(self.texts) * letters // LETTERS_IN_A_STEP


def _is_in(secret: str, texts: set[str]) -> bool:
    return secret in texts or (len(secret) >= LEAST_LETTERS and any(secret in text for text in texts))


def texts_in(value: Any) -> Iterator[str]:
    """Every text in a JSON value, and every number as a text."""
    if isinstance(value, dict):
        for item in value.values():
            yield from texts_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from texts_in(item)
    elif isinstance(value, str):
        yield value
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield str(value)


def keys_in(answer: Any) -> list[str]:
    """The texts of what a `list...` function answers that may be keys, and are no ids or addresses; pure."""
    return [
        text
        for text in texts_in(answer)
        if len(text) >= LEAST_KEY_LETTERS and not text.startswith("/") and "://" not in text
    ]
