"""The catalogue as TOML: entries of `[[image]]`, what they share, and publishers whose images are not public."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit

from vmkiln.azure_names import Architecture
from vmkiln.errors import InputError
from vmkiln.platform_images.catalogue_entry import (
    CatalogueEntry,
    ClosedPublisher,
    DatedBuilds,
    DebianEntry,
    DownloadEntry,
    Plan,
    key_of,
    name_of,
)

NAMING = ("publisher", "offer", "sku", "generation")
NAMES = ("generation_1", "generation_2")  # instead: lists of publisher:offer:sku, all of them the same image
BY_RECIPE = {
    "debian": ("suite", "release"),
    "download": ("url", "checksum_url", "format"),
}
OPTIONAL = ("architecture", "plan", "note")
OPTIONAL_BY_RECIPE = {
    "debian": ("packages", "mirrors"),
    "download": (
        "os_type", "signature", "signature_url", "keyring", "keyring_hint", "key_url", "fingerprints", "release",
        "version", "checksum_member", "index_url", "build_url", "build_version",
    ),
}  # fmt: skip
LISTS = ("packages", "mirrors", "fingerprints", *NAMES)
RELATIVE = ("checksum_url", "signature_url", "key_url")
BUILDS = ("index_url", "build_url", "build_version")
PLAN = ("name", "product", "publisher")
CLOSED = ("publisher", "offer", "reason", "source")
SIGNATURES = ("detached", "clearsigned", "none")
FORMATS = ("qcow2", "raw", "vhd", "vhdx")
OS_TYPES = ("Linux", "Windows")
ARCHITECTURES = tuple(Architecture)
SCHEMES = ("http", "https")
FINGERPRINT = re.compile(r"[0-9A-F]{40}|[0-9A-F]{64}")
_NAME = re.compile(r"[^:\s]+:[^:\s]+:[^:\s]+")
_NUMBER = re.compile(r"\{\d\}")


@dataclass(frozen=True)
class CatalogueText:
    """What one text of the catalogue says."""

    entries: tuple[CatalogueEntry, ...]
    closed: tuple[ClosedPublisher, ...]
    aliases: Mapping[str, str]


def parse_catalogue(text: str, *, name: str) -> CatalogueText:
    """What a TOML text says; pure. Raises: `InputError` naming every mistake."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{name} is not TOML: {error}") from error
    known = ("common", "image", "closed", "aliases")
    mistakes = [
        f"unknown member `{member}`; allowed are [common], [[image]], [[closed]] and [aliases]"
        for member in document
        if member not in known
    ]
    common = document.get("common", {})
    if not isinstance(common, dict):
        raise InputError(f"{name}: `common` must be a table, written [common]")
    tables, closed = _tables(document, "image", name), _tables(document, "closed", name)
    tables = [{**common, **table} for table in tables]
    for index, table in enumerate(tables):
        mistakes += [f"image[{index}].{mistake}" for mistake in _mistakes(table)]
    for index, table in enumerate(closed):
        mistakes += [f"closed[{index}].{member}: is missing" for member in CLOSED if not table.get(member)]
        mistakes += [f"closed[{index}].{member}: is unknown" for member in table if member not in CLOSED]
    aliases = document.get("aliases", {})
    if not isinstance(aliases, dict):
        raise InputError(f"{name}: `aliases` must be a table, written [aliases]")
    mistakes += [
        f"aliases.{alias}: must be PUBLISHER:OFFER:SKU"
        for alias, image in aliases.items()
        if not isinstance(image, str) or not _NAME.fullmatch(image)
    ]
    entries = [] if mistakes else [entry for table in tables for entry in _entries(table)]
    seen: set[tuple[str, str, str]] = set()
    for entry in entries:
        if key_of(entry) in seen:
            mistakes.append(f"image: {name_of(entry)} is there twice")
        seen.add(key_of(entry))
    if mistakes:
        lines = "\n".join(f"  {mistake}" for mistake in mistakes)
        count = f"{len(mistakes)} mistake{'s' if len(mistakes) != 1 else ''}"
        raise InputError(f"{name} has {count}:\n{lines}", hint="docs/platform-images.md has examples")
    return CatalogueText(tuple(entries), tuple(ClosedPublisher(**table) for table in closed), aliases)


def _tables(document: Mapping[str, Any], member: str, name: str) -> list[dict[str, Any]]:
    tables = document.get(member, [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise InputError(f"{name}: `{member}` must be an array of tables, written [[{member}]]")
    return tables


def _mistakes(table: Mapping[str, Any]) -> list[str]:
    recipe = table.get("recipe")
    if not isinstance(recipe, str) or recipe not in BY_RECIPE:
        return [f"recipe: `{recipe}` is not allowed; allowed are {', '.join(BY_RECIPE)}"]
    naming = tuple(member for member in NAMES if member in table) or NAMING
    required = (*naming, "recipe", *BY_RECIPE[recipe])
    allowed = (*required, *OPTIONAL, *OPTIONAL_BY_RECIPE[recipe])
    found = [f"{member}: is missing" for member in required if member not in table]
    found += [f"{member}: is unknown; allowed are {', '.join(allowed)}" for member in table if member not in allowed]
    for member in allowed:
        if member in table and (wanted := _type_mistake(member, table[member])):
            found.append(f"{member}: must be {wanted}")
    found += _not_among(table, "generation", (1, 2))
    found += _not_among(table, "format", FORMATS)
    found += _not_among(table, "signature", SIGNATURES)
    found += _not_among(table, "os_type", OS_TYPES)
    found += _not_among(table, "architecture", ARCHITECTURES)
    url = table.get("url", "https:")
    if isinstance(url, str) and urlsplit(url).scheme not in SCHEMES:
        found.append(f"url: `{url}` is not an http or https address")
    return [*found, *_signature_mistakes(table), *_build_mistakes(table)]


def _signature_mistakes(table: Mapping[str, Any]) -> list[str]:
    found = []
    if table.get("signature", "none") != "none" and not table.get("keyring"):
        found.append("keyring: is missing; a signature is checked against the public keys in it")
    if table.get("signature") == "detached" and not table.get("signature_url"):
        found.append("signature_url: is missing")
    fingerprints = table.get("fingerprints", [])
    if not _type_mistake("fingerprints", fingerprints):
        wrong = [text for text in fingerprints if not FINGERPRINT.fullmatch(text)]
        found += [f"fingerprints: `{text}` is not 40 or 64 hexadecimal digits in capitals" for text in wrong]
    if table.get("key_url") and not fingerprints:
        found.append("fingerprints: is missing; keys that are fetched count only by their fingerprints")
    return found


def _build_mistakes(table: Mapping[str, Any]) -> list[str]:
    given = [member for member in BUILDS if member in table]
    found = [f"{member}: is missing, for {given[0]} is there" for member in BUILDS if given and member not in given]
    if "{build}" not in str(table.get("build_url", "{build}")):
        found.append("build_url: has no {build}")
    if "build_version" in table and not _NUMBER.search(str(table["build_version"])):
        found.append("build_version: has no {0}, the first number of a build")
    return found


def _type_mistake(member: str, value: object) -> str | None:
    if member == "generation":
        return None if type(value) is int else "a number"
    if member == "plan":
        is_plan = isinstance(value, dict) and sorted(value) == sorted(PLAN)
        return None if is_plan else f"a table of {', '.join(PLAN)}"
    if member in LISTS:
        is_list = isinstance(value, list) and all(isinstance(item, str) for item in value)
        if is_list and member in NAMES and isinstance(value, list):
            return None if all(_NAME.fullmatch(item) for item in value) else "a list of PUBLISHER:OFFER:SKU"
        return None if is_list else "a list of texts"
    return None if isinstance(value, str) and value else "a text that is not empty"


def _not_among(table: Mapping[str, Any], member: str, allowed: Sequence[object]) -> list[str]:
    if member not in table or _type_mistake(member, table[member]) or table[member] in allowed:
        return []
    return [f"{member}: `{table[member]}` is not allowed; allowed are {', '.join(str(item) for item in allowed)}"]


def _entries(table: Mapping[str, Any]) -> list[CatalogueEntry]:
    """One entry of each name that a table gives its image."""
    values = {name: value for name, value in table.items() if name not in {"recipe", *NAMES}}
    values |= {name: tuple(values[name]) for name in LISTS if name in values}
    if "plan" in values:
        values["plan"] = Plan(**values["plan"])
    names: list[dict[str, Any]] = [{}]
    if any(member in table for member in NAMES):
        names = [
            {"publisher": publisher, "offer": offer, "sku": sku, "generation": generation}
            for generation, member in enumerate(NAMES, start=1)
            for publisher, offer, sku in (text.split(":") for text in table.get(member, ()))
        ]
    if table["recipe"] == "debian":
        return [DebianEntry(**{**values, **name}) for name in names]
    builds = _builds(values)
    values = {name: value for name, value in values.items() if name not in BUILDS}
    values |= {name: address(values["url"], values[name]) for name in RELATIVE if name in values}
    return [DownloadEntry(**{**values, **name}, builds=builds) for name in names]


def _builds(values: Mapping[str, Any]) -> DatedBuilds | None:
    if "build_url" not in values:
        return None
    return DatedBuilds(
        index_url=urljoin(values["url"], values["index_url"]),
        url=urljoin(values["url"], values["build_url"]),
        checksum_url=values["checksum_url"],
        signature_url=values.get("signature_url", ""),
        version=values["build_version"],
    )


def address(url: str, relative: str) -> str:
    """An address written relative to an image's; `{file}` stands for the image's file name; pure."""
    return urljoin(url, relative.replace("{file}", url.rpartition("/")[2]))
