"""The packages of a system of rpm's, read from the bytes of its SQLite database; a guest wrote every one of them.

Source: rpm's documentation of the header format: two counts, an index of 16 bytes a tag, a store; `rpmtag.h`.
"""

import re

from vmkiln.image_contents.dpkg_status import MOST_FIELD_BYTES, MOST_PACKAGES, Package, Packages
from vmkiln.image_contents.sqlite_table import rows_of

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
VERSION = re.compile(r"[A-Za-z0-9._+~^]+")
WORD = re.compile(r"[a-z0-9_]+")
MOST_TAGS = 10_000
_NAME, _VERSION, _RELEASE, _EPOCH, _ARCHITECTURE, _SOURCE = 1000, 1001, 1002, 1003, 1022, 1044
_TEXT, _INT32 = 6, 4
_NO_PACKAGE = "gpg-pubkey"  # keys that rpm trusts are kept as if they were packages


def rpm_packages_in(database: bytes) -> Packages:
    """The packages that an `rpmdb.sqlite` says are installed; pure. Raises: `SqliteRefused`."""
    found: set[Package] = set()
    odd = 0
    for row in rows_of(database, "Packages"):
        tags = _tags(row[1]) if len(row) > 1 and isinstance(row[1], bytes) else {}
        if tags.get(_NAME) == _NO_PACKAGE:
            continue
        package = _package(tags)
        if package is None or len(found) >= MOST_PACKAGES:
            odd += 1
        else:
            found.add(package)
    return Packages(tuple(sorted(found)), odd)


def _tags(header: bytes) -> dict[int, str]:
    """The few tags that are read, each as text; those that cannot be are left out."""
    count, size = int.from_bytes(header[:4]), int.from_bytes(header[4:8])
    if count > MOST_TAGS or len(header) < 8 + 16 * count + size:
        return {}
    store = header[8 + 16 * count :]
    found: dict[int, str] = {}
    for number in range(count):
        entry = header[8 + 16 * number : 24 + 16 * number]
        tag, kind, offset, values = (int.from_bytes(entry[at : at + 4]) for at in (0, 4, 8, 12))
        if kind == _TEXT and tag in {_NAME, _VERSION, _RELEASE, _ARCHITECTURE, _SOURCE}:
            text, end, _ = store[offset : offset + MOST_FIELD_BYTES + 1].partition(b"\0")
            if end:
                found[tag] = text.decode("ascii", errors="replace")
        elif kind == _INT32 and tag == _EPOCH and values == 1 and len(store) >= offset + 4:
            found[tag] = str(int.from_bytes(store[offset : offset + 4]))
    return found


def _package(tags: dict[int, str]) -> Package | None:
    name, version, release = (tags.get(tag, "") for tag in (_NAME, _VERSION, _RELEASE))
    architecture = tags.get(_ARCHITECTURE, "")
    if not (NAME.fullmatch(name) and VERSION.fullmatch(version) and VERSION.fullmatch(release)):
        return None
    if not WORD.fullmatch(architecture):
        return None
    epoch = f"{tags[_EPOCH]}:" if tags.get(_EPOCH, "0") != "0" else ""
    source = tags.get(_SOURCE, "").removesuffix(".src.rpm").rsplit("-", 2)[0]
    return Package(name, architecture, f"{epoch}{version}-{release}", source if NAME.fullmatch(source) else "")
