"""The catalogue: which publisher/offer/sku means which image, and how that image is had.

Built-in entries and the user's own, in the same TOML; a user's entry of the same name wins.
"""

import difflib
import functools
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from vmkiln.errors import ImageNotFound, InputError

REQUIRED = ("publisher", "offer", "sku", "recipe", "generation")
BY_RECIPE = {
    "debian": ("suite", "release"),
    "download": ("url", "checksum_url", "format"),
}
OPTIONAL_BY_RECIPE = {
    "debian": ("packages", "mirrors"),
    "download": (
        "os_type", "signature", "signature_url", "keyring", "keyring_hint", "release", "version",
    ),
}  # fmt: skip
LISTS = ("packages", "mirrors")
URLS = ("checksum_url", "signature_url")
SIGNATURES = ("detached", "clearsigned", "none")
FORMATS = ("qcow2", "raw", "vhd")
OS_TYPES = ("Linux", "Windows")
SCHEMES = ("http", "https")


@dataclass(frozen=True)
class DebianEntry:
    """An image made here from Debian's packages; `mirrors` replaces the archive's own addresses (sources.list(5))."""

    publisher: str
    offer: str
    sku: str
    generation: int
    suite: str
    release: str
    packages: tuple[str, ...] = ()
    mirrors: tuple[str, ...] = ()


@dataclass(frozen=True)
class DownloadEntry:
    """An image fetched by URL and checked against a published checksum, which is signed unless `signature` is none.

    `keyring` is a path, or a name looked for in the user's own keyrings and in the distribution's.
    """

    publisher: str
    offer: str
    sku: str
    generation: int
    url: str
    checksum_url: str
    format: str
    os_type: str = "Linux"
    signature: str = "none"
    signature_url: str = ""
    keyring: str = ""
    keyring_hint: str = ""
    release: str = ""
    version: str = ""


CatalogueEntry = DebianEntry | DownloadEntry


@dataclass(frozen=True)
class Catalogue:
    """All entries, by (publisher, offer, sku) in lower case."""

    entries: Mapping[tuple[str, str, str], CatalogueEntry]

    def find(self, publisher: str, offer: str, sku: str) -> CatalogueEntry:
        """The entry. Raises: `ImageNotFound`, with the names that come nearest."""
        entry = self.entries.get((publisher.lower(), offer.lower(), sku.lower()))
        if entry is not None:
            return entry
        wanted = f"{publisher}:{offer}:{sku}"
        names = {name.lower(): name for name in self.names()}
        near = difflib.get_close_matches(wanted.lower(), names, n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(names[name] for name in near)}? " if near else ""
        raise ImageNotFound(
            f"the catalogue has no platform image {wanted}",
            hint=hint + "`vmkiln image catalogue` lists them; docs/platform-images.md says how to add one",
        )

    def names(self) -> list[str]:
        """`publisher:offer:sku` of every entry, sorted."""
        return sorted(f"{entry.publisher}:{entry.offer}:{entry.sku}" for entry in self.entries.values())


def read_catalogue(user_file: Path) -> Catalogue:
    """The built-in catalogue with the user's additions. Raises: `InputError` naming every mistake in the user's."""
    own = parse_catalogue(_text_of(user_file), name=str(user_file)) if user_file.exists() else []
    return Catalogue({_key(entry): entry for entry in (*_built_in(), *own)})


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
def _built_in() -> tuple[CatalogueEntry, ...]:
    """What came with the program, which does not change while it runs."""
    text = resources.files("vmkiln.platform_images").joinpath("catalogue.toml").read_text()
    return tuple(parse_catalogue(text, name="built-in"))


def _key(entry: CatalogueEntry) -> tuple[str, str, str]:
    return (entry.publisher.lower(), entry.offer.lower(), entry.sku.lower())


def parse_catalogue(text: str, *, name: str) -> list[CatalogueEntry]:
    """The entries of one TOML text; pure. Raises: `InputError` naming every mistake."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{name} is not TOML: {error}") from error
    tables = document.get("image", [])
    mistakes = [f"unknown member `{member}`; allowed is [[image]]" for member in document if member != "image"]
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise InputError(f"{name}: `image` must be an array of tables, written [[image]]")
    for index, table in enumerate(tables):
        mistakes += [f"image[{index}].{mistake}" for mistake in _mistakes(table)]
    entries = [] if mistakes else [_entry(table) for table in tables]
    for index, entry in enumerate(entries):
        if _key(entry) in {_key(earlier) for earlier in entries[:index]}:
            mistakes.append(f"image[{index}]: {entry.publisher}:{entry.offer}:{entry.sku} is there twice")
    if mistakes:
        lines = "\n".join(f"  {mistake}" for mistake in mistakes)
        count = f"{len(mistakes)} mistake{'s' if len(mistakes) != 1 else ''}"
        raise InputError(f"{name} has {count}:\n{lines}", hint="docs/platform-images.md has examples")
    return entries


def _mistakes(table: Mapping[str, Any]) -> list[str]:
    recipe = table.get("recipe")
    if not isinstance(recipe, str) or recipe not in BY_RECIPE:
        return [f"recipe: `{recipe}` is not allowed; allowed are {', '.join(BY_RECIPE)}"]
    required = (*REQUIRED, *BY_RECIPE[recipe])
    allowed = (*required, *OPTIONAL_BY_RECIPE[recipe])
    found = [f"{member}: is missing" for member in required if member not in table]
    found += [f"{member}: is unknown; allowed are {', '.join(allowed)}" for member in table if member not in allowed]
    for member in allowed:
        if member in table and (wanted := _type_mistake(member, table[member])):
            found.append(f"{member}: must be {wanted}")
    found += _not_among(table, "generation", (1, 2))
    found += _not_among(table, "format", FORMATS)
    found += _not_among(table, "signature", SIGNATURES)
    found += _not_among(table, "os_type", OS_TYPES)
    url = table.get("url", "https:")
    if isinstance(url, str) and urlsplit(url).scheme not in SCHEMES:
        found.append(f"url: `{url}` is not an http or https address")
    if table.get("signature", "none") != "none" and not table.get("keyring"):
        found.append("keyring: is missing; a signature is checked against the public keys in it")
    if table.get("signature") == "detached" and not table.get("signature_url"):
        found.append("signature_url: is missing")
    return found


def _type_mistake(member: str, value: object) -> str | None:
    if member == "generation":
        return None if type(value) is int else "a number"
    if member in LISTS:
        is_list = isinstance(value, list) and all(isinstance(item, str) for item in value)
        return None if is_list else "a list of texts"
    return None if isinstance(value, str) and value else "a text that is not empty"


def _not_among(table: Mapping[str, Any], member: str, allowed: Sequence[object]) -> list[str]:
    if member not in table or _type_mistake(member, table[member]) or table[member] in allowed:
        return []
    return [f"{member}: `{table[member]}` is not allowed; allowed are {', '.join(str(item) for item in allowed)}"]


def _entry(table: Mapping[str, Any]) -> CatalogueEntry:
    values = {name: value for name, value in table.items() if name != "recipe"}
    values |= {name: tuple(values[name]) for name in LISTS if name in values}
    if table["recipe"] == "debian":
        return DebianEntry(**values)
    # written relative to the image's own address
    values |= {name: urljoin(values["url"], values[name]) for name in URLS if name in values}
    return DownloadEntry(**values)
