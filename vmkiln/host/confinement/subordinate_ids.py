"""A user's subordinate ids: which ids beside its own a user may hand out in a user namespace (subuid(5), subgid(5))."""

import getpass
import os
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

ROOT = Path("/")


class IdFile(StrEnum):
    """The file below /etc that has the ranges."""

    USERS = "subuid"
    GROUPS = "subgid"


@dataclass(frozen=True)
class IdRange:
    """A range of subordinate ids: first id and how many."""

    first: int
    count: int

    @property
    def ids(self) -> range:
        """The ids themselves."""
        return range(self.first, self.first + self.count)


def range_in(text: str, *, user: str, user_id: int) -> IdRange | None:
    """The user's first range in the text of such a file; pure."""
    for line in text.splitlines():
        owner, _, rest = line.strip().partition(":")
        first, _, count = rest.partition(":")
        if owner in {user, str(user_id)} and first.isdigit() and count.isdigit() and int(count) > 0:
            return IdRange(int(first), int(count))
    return None


def own_range(file: IdFile, root: Path = ROOT) -> IdRange | None:
    """The first range of the user that this process runs as; None when the file has none, or cannot be read."""
    try:
        text = (root / "etc" / file).read_text()
    except OSError:
        return None
    return range_in(text, user=getpass.getuser(), user_id=os.getuid())
