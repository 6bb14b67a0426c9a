"""Where in the text of a template the parts of it stand, for whoever is told of a mistake by its path; pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

_LAST = re.compile(r"(?:\.?[\w$-]+|\[\d+\]|\['(?:(?!\[').)*'\])$", re.DOTALL)  # the last step of a path


@dataclass(frozen=True)
class Place:
    """A place in a text, both counted from 1."""

    line: int
    column: int


@dataclass(frozen=True)
class Places:
    """A text, and where in it each member and element of its value begins, by its path in small letters."""

    text: str
    begins: Mapping[str, int]

    def of(self, path: str) -> Place | None:
        """Where the part of this path begins, or, of one that is not there, what it is missing in; in any case.

        None where not even its first step is there.
        """
        rest = path.lower()
        while rest:
            if (at := self.begins.get(rest)) is not None:
                return Place(self.text.count("\n", 0, at) + 1, at - self.text.rfind("\n", 0, at))
            last = _LAST.search(rest)
            rest = rest[: last.start()] if last else ""
        return None
