"""Finds secrets in a text in one pass, however many there are and in however many forms: Aho-Corasick.

A search costs time in proportion to the text, and memory in proportion to the forms, which have a limit. Letters are
compared without regard to case. Why a library: docs/decisions/0028-secrets-are-found-in-their-forms.md.
"""

from collections.abc import Collection
from typing import Any

from vmkiln.secrecy.encoded_forms import LEAST_LETTERS, MOST_FULL_LETTERS, forms_of

MOST_SECRET_LETTERS = 65_536  # of all secrets together; what is beyond is looked for as it is, without its forms
Span = tuple[int, int]


class SecretSearch:
    """What is looked for, made ready once; `longest` is the length of the longest form."""

    def __init__(self, secrets: Collection[str]) -> None:
        import ahocorasick  # noqa: PLC0415 (commands that know no secret do without)

        self._automaton: Any = ahocorasick.Automaton()
        self.longest = 0
        letters = 0
        for secret in sorted(secrets, key=len):
            letters += len(secret)
            for form in _looked_for(secret, letters):
                folded = lowered(form)
                self._automaton.add_word(folded, len(folded))
                self.longest = max(self.longest, len(folded))
        self._is_empty = not self.longest
        if not self._is_empty:
            self._automaton.make_automaton()

    def spans(self, small: str) -> list[Span]:
        """Where secrets stand in a text that is `lowered`, each as (start, end), by their ends; they may overlap."""
        if self._is_empty:
            return []
        return [(last + 1 - length, last + 1) for last, length in self._automaton.iter(small)]


def _looked_for(secret: str, letters: int) -> Collection[str]:
    if letters > MOST_SECRET_LETTERS:
        return [line for line in {secret, *secret.splitlines()} if len(line.strip()) >= LEAST_LETTERS]
    return forms_of(secret, every=letters <= MOST_FULL_LETTERS)


def lowered(text: str) -> str:
    """The text in small letters, each where it was; pure."""
    small = text.lower()
    return small if len(small) == len(text) else "".join(_small(letter) for letter in text)


def _small(letter: str) -> str:
    small = letter.lower()
    return small if len(small) == 1 else letter


def joined(spans: Collection[Span]) -> list[Span]:
    """The same places, those that touch or overlap as one, in order; pure."""
    found: list[Span] = []
    for start, end in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found
