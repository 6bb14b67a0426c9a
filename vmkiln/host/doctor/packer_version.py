"""Which versions of Packer builds can use, and under which licence each is; pure, and of the standard library only.

Sources: the file LICENSE at each tag of Packer's repository (MPL-2.0 up to 1.9, Business Source License 1.1 from
1.10 on); its changelog, 1.9.4, for the crash.
"""

import re

OLDEST = (1, 6, 6)
LAST_FREE = (1, 9, 5)
# these crash when CHECKPOINT_DISABLE is set, which builds always do: nothing is to be asked of Packer's maker
CRASHING = frozenset({(1, 9, 2), (1, 9, 3)})
VERSION_SECONDS = 10  # `packer version` answers in less than one; another program of that name waits for input

Version = tuple[int, int, int]


def parse_version(text: str) -> Version | None:
    """The version in what `packer version` prints; none when another program printed it."""
    found = re.search(r"^Packer v(\d+)\.(\d+)\.(\d+)", text, re.MULTILINE)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


def shown(version: Version) -> str:
    """The version as people write it."""
    return ".".join(map(str, version))


def obstacle(version: Version) -> str | None:
    """Why builds cannot use this version, as the end of a sentence; nothing when they can."""
    if version < OLDEST:
        return f"is too old: {shown(OLDEST)} or newer is needed"
    if version in CRASHING:
        return "crashes when it is told not to look for newer versions, as builds tell it: use 1.9.5"
    return None


def licence(version: Version) -> str:
    """The licence that the version is under."""
    return "MPL-2.0" if version[:2] <= LAST_FREE[:2] else "Business Source License 1.1, see its terms"
