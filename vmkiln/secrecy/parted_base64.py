"""Base64 of a longer text with a secret in it, in lines: where one ends the secret is parted, and neither part is it.

`base64`, PEM and `xxd -p` begin a new line after so many letters. The first line shows letters that begin a secret's
form, and is masked by that; what is on the next lines is known then.
"""

import re
from collections.abc import Collection, Iterator

from vmkiln.secrecy.encoded_forms import LEAST_LETTERS, MOST_FULL_LETTERS, TO_URL, WRAPS, amid_others
from vmkiln.secrecy.secret_search import Span, lowered

LEAST_PARTED = 8  # letters, which are six bytes: fewer stand in many a text
_LETTERS = re.compile(r"[a-z0-9+/_-]+")
_Form = tuple[str, int]  # in small letters, and how many of them are behind


class PartedBase64:
    """Reads lines in their order; gives what of each belongs to a secret that a line's end has parted."""

    def __init__(self, secrets: Collection[str]) -> None:
        self._begins: dict[str, set[str]] = {}
        self._goes_on: dict[str, set[_Form]] = {}
        self._before = ""
        self._longest = 0
        letters = 0
        for secret in sorted(secrets, key=len):
            letters += len(secret)
            for form in _forms(secret) if letters <= MOST_FULL_LETTERS else ():
                self._longest = max(self._longest, len(form))
                self._begins.setdefault(form[:LEAST_PARTED], set()).add(form)
                for behind in range(1, LEAST_PARTED):
                    self._goes_on.setdefault(form[behind:][:LEAST_PARTED], set()).add((form, behind))

    def spans(self, line: str) -> list[Span]:
        """Where letters at the beginning and at the end of a line's last word belong to a parted secret."""
        if not self._longest:
            return []
        end = len(line.rstrip())
        word = lowered(line[:end].rpartition(" ")[2])
        start = end - len(word)
        before, self._before = self._before, ""
        rest = self._rest(before, word) if before else 0
        found = [(start, start + rest)] if rest else []
        if len(word) in WRAPS and _LETTERS.fullmatch(word):
            self._before = (before + word)[-self._longest - len(word) :]
            found += [(start + at, end) for at in self._begun_at(word)]
        return found

    def _begun_at(self, word: str) -> list[int]:
        """Where the first form begins that the word's end parts."""
        return sorted(at for at, _ in self._begun(word))[:1]

    def _begun(self, text: str) -> Iterator[tuple[int, str]]:
        """Where a form begins that the text's end parts."""
        for at in range(max(0, len(text) - self._longest + 1), len(text) - LEAST_PARTED + 1):
            for form in self._begins.get(text[at : at + LEAST_PARTED], ()):
                if len(text) - at < len(form) and form.startswith(text[at:]):
                    yield at, form

    def _rest(self, before: str, word: str) -> int:
        found = 0
        for beginning in {word[:size] for size in range(1, LEAST_PARTED + 1)}:  # what is left of a form may be short
            for form, behind in self._goes_on.get(beginning, ()):
                if before.endswith(form[:behind]):
                    found = max(found, _common(form[behind:], word))
        for at, form in self._begun(before):
            found = max(found, _common(form[len(before) - at :], word))
        return found


def _common(rest: str, word: str) -> int:
    """The letters of a word that the rest of a form is; 0 when it goes on otherwise."""
    if word.startswith(rest):
        return len(rest)
    return len(word) if rest.startswith(word) else 0


def _forms(secret: str) -> Iterator[str]:
    """Base64 of a secret amid others, at three alignments: what does not depend on its neighbours."""
    for text in {secret, secret.strip()}:
        if len(text) < LEAST_LETTERS:
            continue
        for content in (text.encode("utf-8", "surrogatepass"), text.encode("utf-16-le", "surrogatepass")):
            for inner, _ in amid_others(content):
                if len(inner) > LEAST_PARTED:
                    yield lowered(inner)
                    yield lowered(inner.translate(TO_URL))
