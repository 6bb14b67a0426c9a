"""The packages of a Debian system, read from the bytes of its status file; a guest wrote every one of them.

Source: deb822(5), deb-version(7), dpkg's `lib/dpkg/parse.c`: paragraphs of fields, the first `Status` of three words.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

MOST_PACKAGES = 100_000
MOST_FIELD_BYTES = 400
NAME = re.compile(r"[a-z0-9][a-z0-9+.-]*")
VERSION = re.compile(r"[0-9A-Za-z.+:~-]+")
WORD = re.compile(r"[a-z0-9-]+")
_WANTED = {b"package", b"status", b"version", b"architecture", b"source"}


@dataclass(frozen=True, order=True)
class Package:
    """An installed package: its name, architecture, version, and the source package that it was built from."""

    name: str
    architecture: str
    version: str
    source: str = ""

    @property
    def key(self) -> str:
        """What a system has one of: `libc6:amd64`."""
        return f"{self.name}:{self.architecture}"


@dataclass(frozen=True)
class Packages:
    """The installed packages by name, and how many paragraphs could not be understood: about those nothing is known."""

    installed: tuple[Package, ...]
    odd: int = 0


def packages_in(status: bytes) -> Packages:
    """The packages that a status file says are installed; pure."""
    found: set[Package] = set()
    odd = 0
    for paragraph in _paragraphs(status):
        state = paragraph.get(b"status", b"").split()
        if len(state) == 3 and state[2] in {b"not-installed", b"config-files"}:
            continue
        package = _package(paragraph)
        if package is None or len(state) != 3 or len(found) >= MOST_PACKAGES:
            odd += 1
        else:
            found.add(package)
    return Packages(tuple(sorted(found)), odd)


def _paragraphs(status: bytes) -> Iterator[dict[bytes, bytes]]:
    fields: dict[bytes, bytes] = {}
    for line in (*status.split(b"\n"), b""):
        if not line.strip():
            if fields:
                yield fields
            fields = {}
        elif not line.startswith((b" ", b"\t")):
            name, _, value = line.partition(b":")
            name = name.lower()
            if name in _WANTED:
                fields[name] = value.strip()[: MOST_FIELD_BYTES + 1]
            else:
                fields.setdefault(b"", b"")  # there is a paragraph


def _package(fields: dict[bytes, bytes]) -> Package | None:
    values = {}
    for name, rule in ((b"package", NAME), (b"architecture", WORD), (b"version", VERSION)):
        raw = fields.get(name, b"")
        text = raw.decode("ascii", errors="replace")
        if len(raw) > MOST_FIELD_BYTES or not rule.fullmatch(text):
            return None
        values[name] = text
    source = fields.get(b"source", b"").decode("ascii", errors="replace").partition(" ")[0]
    return Package(
        values[b"package"],
        values[b"architecture"],
        values[b"version"],
        source if NAME.fullmatch(source) else "",
    )
