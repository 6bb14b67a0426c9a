"""The catalogue: which publisher/offer/sku means which image, and how that image is had.

Built-in entries, the user's own in the same TOML, and images that the user imported; the user's of a name win.
"""

import difflib
import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

from vmkiln.errors import ImageNotFound, InputError
from vmkiln.platform_images.catalogue_entry import (
    CatalogueEntry,
    ClosedPublisher,
    DownloadEntry,
    ImportedEntry,
    key_of,
    name_of,
)
from vmkiln.platform_images.catalogue_text import CatalogueText, parse_catalogue

ANY = "*"
BUILT_IN = "built-in"


@dataclass(frozen=True)
class Catalogue:
    """All entries, by (publisher, offer, sku) in lower case, and the publishers whose images are not public.

    `aliases` are az's short names of images, such as `Ubuntu2204`, each with the image's `publisher:offer:sku`.
    """

    entries: Mapping[tuple[str, str, str], CatalogueEntry]
    closed: tuple[ClosedPublisher, ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)

    def find(self, publisher: str, offer: str, sku: str) -> CatalogueEntry:
        """The entry. Raises: `ImageNotFound`, with what to do: the names that come nearest, or the import of a file."""
        entry = self.entries.get((publisher.lower(), offer.lower(), sku.lower()))
        if entry is not None:
            return entry
        wanted = f"{publisher}:{offer}:{sku}"
        if closed := self.closed_publisher(publisher, offer):
            raise ImageNotFound(
                f"the catalogue has no platform image {wanted}: {closed.reason}",
                hint=f"get {closed.source}, then `vmkiln image import FILE --as {wanted}`",
            )
        names = {name.lower(): name for name in self.names()}
        near = difflib.get_close_matches(wanted.lower(), names, n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(names[name] for name in near)}? " if near else ""
        raise ImageNotFound(
            f"the catalogue has no platform image {wanted}",
            hint=f"{hint}`vmkiln image catalogue` lists them; `vmkiln image import FILE --as {wanted}` takes a file of "
            "yours; docs/platform-images.md says how to add one",
        )

    def closed_publisher(self, publisher: str, offer: str) -> ClosedPublisher | None:
        """Why an image of this name is not public, when that is known; the entry that says most of the name."""
        fitting = [
            item
            for item in self.closed
            if item.publisher.lower() == publisher.lower() and item.offer.lower() in {ANY, offer.lower()}
        ]
        return min(fitting, key=lambda item: item.offer == ANY, default=None)

    def names(self) -> list[str]:
        """`publisher:offer:sku` of every entry, sorted."""
        return sorted(name_of(entry) for entry in self.entries.values())


def read_catalogue(user_file: Path, imported: Sequence[ImportedEntry] = (), *, publisher: str = "") -> Catalogue:
    """The built-in catalogue with the user's additions.

    With a `publisher` it has all images of that one, and of others what happens to stand in the same text: enough to
    find an image, and not to say which names come near one. Reading all takes longer than the rest of `validate`.

    Raises: `InputError` naming every mistake in the user's.
    """
    texts = list(built_in(publisher))
    if user_file.exists():
        texts.append(parse_catalogue(_text_of(user_file), name=str(user_file)))
    entries = [entry for text in texts for entry in text.entries]
    return Catalogue(
        {key_of(entry): entry for entry in (*entries, *imported)},
        tuple(item for text in texts for item in text.closed),
        {alias: image for text in texts for alias, image in text.aliases.items()},
    )


def _text_of(file: Path) -> str:
    """Raises: `InputError` when it is no UTF-8 text, or cannot be read."""
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise InputError(f"{file}: line {line} is not UTF-8 text", hint="save it as UTF-8") from error
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror or error}") from error


@functools.cache
def tried() -> Mapping[str, Mapping[str, str]]:
    """The fetched entries that `script/try-catalogue` got, by name in lower case: when, which version, from where.

    An entry that is not in it, or whose address is another by now, is untried.
    """
    text = resources.files("vmkiln.platform_images").joinpath("catalogue", "tried.json").read_text(encoding="utf-8")
    found: dict[str, dict[str, str]] = json.loads(text)
    return found


def is_tried(entry: CatalogueEntry) -> bool:
    """Whether an image can be counted on: made or imported here, or fetched once from where the entry says."""
    if not isinstance(entry, DownloadEntry):
        return True
    return tried().get(name_of(entry).lower(), {}).get("url") == entry.url


def built_in(publisher: str = "") -> tuple[CatalogueText, ...]:
    """What came with the program, a text of each distribution; with a `publisher`, the texts that name it."""
    beginning = f'"{publisher}'.lower() if publisher else ""  # of `publisher = "X"`, or of one of `names = ["X:Y:Z"]`
    return tuple(_parsed(name) for name, text in _built_in_texts().items() if beginning in text.lower())


@functools.cache
def _built_in_texts() -> Mapping[str, str]:
    """By file name; they do not change while the program runs."""
    folder = resources.files("vmkiln.platform_images").joinpath("catalogue")
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".toml")), key=lambda file: file.name)
    return {file.name: file.read_text(encoding="utf-8") for file in files}


@functools.lru_cache(maxsize=32)
def _parsed(name: str) -> CatalogueText:
    return parse_catalogue(_built_in_texts()[name], name=BUILT_IN)
