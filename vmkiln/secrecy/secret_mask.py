"""What must not be shown, taken out of whatever is shown: secrets that are known, however they are written, and keys.

A secret is found as it is and in the forms that programs make of it (`secrecy/encoded_forms.py`); keys of known kinds
are found by their shape (`secrecy/key_shapes.py`). A value of fewer than four characters is masked only where it is the
whole text: to mask every `a` would hide nothing and make a log unreadable. A value of several lines is masked line by
line, too, for that is how logs come.
"""

import functools
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from vmkiln.secrecy.encoded_forms import LEAST_LETTERS
from vmkiln.secrecy.key_shapes import LONGEST_SHAPE, shaped_spans
from vmkiln.secrecy.parted_base64 import PartedBase64
from vmkiln.secrecy.secret_search import SecretSearch, Span, joined, lowered

MASK = "***"
MOST_KEY_LINES = 400  # of a private key whose end does not come
_BEGIN = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_OF_A_KEY = re.compile(r"[A-Za-z0-9+/=]{1,200}|[A-Z0-9-]{1,40},[A-F0-9]{8,64}|\d,ENCRYPTED")  # RFC 1421's headers, too
_END = re.compile(r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")


@dataclass(frozen=True)
class SecretMask:
    """Replaces secrets in texts by `***`. Without secrets it still masks keys of known shapes."""

    secrets: frozenset[str] = field(default=frozenset(), repr=False)

    @classmethod
    def of(cls, values: Iterable[str]) -> "SecretMask":
        """A mask for these values."""
        return cls(frozenset(values) - {""})

    @property
    def too_short(self) -> bool:
        """Whether there is a value that cannot be masked inside a longer text."""
        return any(len(secret) < LEAST_LETTERS for secret in self.secrets)

    @functools.cached_property
    def _search(self) -> SecretSearch | None:
        return SecretSearch(self.secrets) if any(len(secret) >= LEAST_LETTERS for secret in self.secrets) else None

    @property
    def longest(self) -> int:
        """Letters of the longest piece that is looked for."""
        return max(self._search.longest if self._search else 0, LONGEST_SHAPE)

    def spans(self, text: str) -> list[Span]:
        """Where secrets stand in a text, as (start, end), in order."""
        if len(text) < LEAST_LETTERS:
            return []
        small = lowered(text)
        found = self._search.spans(small) if self._search else []
        found += shaped_spans(text, small)
        return joined(found) if found else found

    def __call__(self, text: str) -> str:
        """The text without secrets."""
        return self.without(text)

    def without(self, text: str, more: Collection[Span] = ()) -> str:
        """The text without secrets, and without what stands in `more` places."""
        if text in self.secrets:
            return MASK
        found, at = list[str](), 0
        for start, end in joined([*self.spans(text), *more]) if more else self.spans(text):
            found += [text[at:start], MASK]
            at = end
        return "".join((*found, text[at:])) if found else text

    def value(self, value: Any) -> Any:
        """Plain data with every text in it masked; the names of members too, and numbers that are secrets."""
        if isinstance(value, Mapping):
            return {self(str(name)): self.value(item) for name, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(item) for item in value]
        if isinstance(value, int | float) and not isinstance(value, bool):
            return MASK if len(str(value)) >= LEAST_LETTERS and str(value) in self.secrets else value
        return self(value) if isinstance(value, str) else value

    def __or__(self, other: "SecretMask") -> "SecretMask":
        """A mask for the secrets of both."""
        return SecretMask(self.secrets | other.secrets) if other.secrets - self.secrets else self


class StreamMask:
    """The same for a text that comes in pieces, cut anywhere: what may be part of a secret is held back.

    Holds at most four times the longest piece that is looked for, and what was fed last.
    """

    def __init__(self, mask: SecretMask) -> None:
        self._mask = mask
        self._held = mask.longest
        self._text = ""
        self._given = 0  # letters at the beginning of `_text` that were given out, and are looked at once more
        self._is_masked = False  # what was given out last was a mask

    def feed(self, text: str) -> str:
        """What is certain by now, masked."""
        self._text += text
        if len(self._text) - self._given < 2 * self._held:
            return ""
        return self._out(len(self._text) - self._held)

    def finish(self) -> str:
        """What is left when the text has ended, masked."""
        found = self._out(len(self._text))
        self._text, self._given, self._is_masked = "", 0, False
        return found

    def _out(self, until: int) -> str:
        found, at = list[str](), self._given
        for start, end in self._mask.spans(self._text):
            if end <= at or start >= until:
                continue
            if start > at:
                found.append(self._text[at:start])
                self._is_masked = False
            if not self._is_masked:
                found.append(MASK)
            self._is_masked = True
            at = min(end, until)
        if at < until:
            found.append(self._text[at:until])
            self._is_masked = False
        cut = max(0, until - self._held)
        self._text, self._given = self._text[cut:], until - cut
        return "".join(found)


class LineMask:
    """The same for lines that come one by one, of which a private key in PEM, or base64 of a text, takes several."""

    def __init__(self, mask: SecretMask) -> None:
        self._mask = mask
        self._parted = PartedBase64(mask.secrets)
        self._key_lines = 0  # how many more may belong to a key

    def __call__(self, line: str) -> str:
        """The line without secrets."""
        parted = self._parted.spans(line)
        if not self._key_lines:
            begun = _BEGIN.search(line)
            if begun is not None and not _END.search(line, begun.end()):
                self._key_lines = MOST_KEY_LINES
                return self._mask(line[: begun.end()]) + (MASK if line[begun.end() :].strip() else "")
            return self._mask.without(line, parted)
        self._key_lines -= 1
        content = line.rpartition(": ")[2].strip()
        if content and not _OF_A_KEY.fullmatch(content):
            self._key_lines = 0
            return self._mask(line)
        return line[: len(line) - len(line.rpartition(": ")[2])] + (MASK if content else "")


NO_SECRETS = SecretMask()
