"""A pattern that is compiled when it is first looked for: a command that shows nothing is spared a hundredth second."""

import functools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class LatePattern:
    """A regular expression and its flags, used as if it were compiled. Raises at its first use: `re.error`."""

    text: str
    flags: re.RegexFlag = re.NOFLAG

    @functools.cached_property
    def _compiled(self) -> re.Pattern[str]:
        return re.compile(self.text, self.flags)

    def search(self, text: str) -> re.Match[str] | None:
        """The first place where it matches; none where there is none."""
        return self._compiled.search(text)

    def finditer(self, text: str) -> Iterator[re.Match[str]]:
        """Every place, as they follow each other."""
        return self._compiled.finditer(text)

    def sub(self, put: str | Callable[[re.Match[str]], str], text: str) -> str:
        """The text with something else in every place."""
        return self._compiled.sub(put, text)
