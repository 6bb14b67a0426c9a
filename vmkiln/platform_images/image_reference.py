"""What a reference to a platform image means: the catalogue's entry, and the cached image or how one is had; pure.

`latest` never is a stale image; an exact version comes from the cache, or from a publisher who keeps dated builds.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from vmkiln.azure_names import Architecture
from vmkiln.errors import ImageNotFound
from vmkiln.platform_images.catalogue_entry import CatalogueEntry, DebianEntry, DownloadEntry, ImportedEntry, Plan
from vmkiln.platform_images.debian_recipe import DebianRecipe, recipe_digest
from vmkiln.platform_images.image_cache import SourceImage
from vmkiln.platform_images.published_builds import may_be_version, no_such_version
from vmkiln.settings import Settings
from vmkiln.template.source import PlatformImageSource

IMPORTED = "imported"


@dataclass(frozen=True)
class PlatformImageReference:
    """What a template names."""

    publisher: str
    offer: str
    sku: str
    version: str = "latest"
    plan: Plan | None = None

    @property
    def name(self) -> str:
        """`publisher:offer:sku` in lower case."""
        return f"{self.publisher}:{self.offer}:{self.sku}".lower()

    @property
    def is_latest(self) -> bool:
        """Whether the newest version is meant."""
        return self.version.lower() == "latest"


def reference_of(source: PlatformImageSource) -> PlatformImageReference:
    """What the source of a template names; pure."""
    given = source.plan_info
    plan = Plan(given.plan_name, given.plan_product, given.plan_publisher) if given is not None else None
    return PlatformImageReference(source.publisher, source.offer, source.sku, source.version, plan)


class Action(StrEnum):
    """What must be done to have an image."""

    USE = "use"
    MAKE = "make"
    FETCH = "fetch"


@dataclass(frozen=True)
class Resolution:
    """What a reference means now: the cached image, or how a new one is had, and the same as a sentence."""

    entry: CatalogueEntry
    action: Action
    cached: SourceImage | None
    sentence: str


def recipe_of(entry: CatalogueEntry) -> str:
    """By what an entry's image is made or from where it is fetched, as a SHA-256; names of one image share it."""
    match entry:
        case DebianEntry():
            return recipe_digest(debian_recipe(entry))
        case ImportedEntry():
            return IMPORTED
        case DownloadEntry():
            values = [entry.url, entry.checksum_url, entry.format, entry.signature, entry.keyring, entry.version]
            values += [entry.checksum_member] if entry.checksum_member else []
            values += [entry.builds.url, entry.builds.version] if entry.builds is not None else []
            return hashlib.sha256("\0".join(values).encode()).hexdigest()


def debian_recipe(entry: DebianEntry) -> DebianRecipe:
    """The recipe of an image that is made here; pure."""
    architecture = Architecture(entry.architecture)
    return DebianRecipe(entry.suite, entry.generation, entry.packages, entry.mirrors, architecture)


def version_numbers(version: str) -> tuple[int, ...]:
    """The numbers of a version, for finding the newest; pure."""
    return tuple(int(number) for number in re.findall(r"\d+", version))


def imported_entries(cached: Sequence[SourceImage]) -> list[ImportedEntry]:
    """The catalogue entries of images that the user imported, each with the versions that are kept; pure."""
    found: dict[str, list[SourceImage]] = {}
    for image in cached:
        if image.is_imported:
            found.setdefault(image.name, []).append(image)
    entries = []
    for images in found.values():
        newest_first = sorted(images, key=lambda image: version_numbers(image.exact_version), reverse=True)
        publisher, offer, sku = newest_first[0].title.split(":")
        newest = newest_first[0]
        entries.append(
            ImportedEntry(
                publisher,
                offer,
                sku,
                newest.generation,
                tuple(image.exact_version for image in newest_first),
                os_type=newest.os_type,
                architecture=newest.architecture,
                plan=Plan(*newest.plan) if newest.plan else None,
            )
        )
    return entries


def resolve(
    reference: PlatformImageReference,
    entry: CatalogueEntry,
    cached: Sequence[SourceImage],
    *,
    now: datetime,
    refresh: bool = False,
    most_age_days: float = Settings.platform_image_most_age_days,
) -> Resolution:
    """What would happen, without doing it; `cached` is newest first.

    `latest` never is a stale image: one older than `most_age_days`, or made by an older recipe, is not used, unless
    the user imported it.
    Raises: `ImageNotFound` for an exact version that neither the cache nor the publisher can have, naming the others,
    and for a purchase plan that the image does not have.
    """
    _check_plan(reference, entry)
    mine = [image for image in cached if image.name == reference.name]
    if not reference.is_latest:
        return _exact(reference, entry, mine)
    usable = [image for image in mine if image.recipe == recipe_of(entry) and image.is_newest]
    newest = max(usable, key=lambda image: version_numbers(image.exact_version), default=None)
    if isinstance(entry, ImportedEntry) and newest is not None:
        return Resolution(entry, Action.USE, newest, f"version {newest.exact_version}, which was imported")
    if newest is not None and not refresh and newest.age_days(now) <= most_age_days:
        age = f"{newest.age_days(now):.0f} days old"
        return Resolution(entry, Action.USE, newest, f"version {newest.exact_version} from the cache, {age}")
    if isinstance(entry, DebianEntry):
        return Resolution(entry, Action.MAKE, None, f"to be made from packages of Debian {entry.suite}")
    if isinstance(entry, ImportedEntry):
        raise ImageNotFound(f"the imported image {reference.name} is gone", hint="import it again")
    return Resolution(entry, Action.FETCH, None, f"to be fetched from {entry.url}")


def _exact(reference: PlatformImageReference, entry: CatalogueEntry, mine: Sequence[SourceImage]) -> Resolution:
    exact = next((image for image in mine if image.exact_version == reference.version), None)
    if exact is not None:
        return Resolution(entry, Action.USE, exact, f"version {exact.exact_version} from the cache")
    builds = entry.builds if isinstance(entry, DownloadEntry) else None
    if builds is not None and may_be_version(reference.version, builds):
        sentence = f"version {reference.version} to be fetched, if {builds.index_url} has it"
        return Resolution(entry, Action.FETCH, None, sentence)
    kept = [image.exact_version for image in mine]
    raise no_such_version(reference.version, reference.name, [], kept=kept)


def _check_plan(reference: PlatformImageReference, entry: CatalogueEntry) -> None:
    plan, wanted = reference.plan, entry.plan
    if plan is None or wanted is None:
        return
    named, known = ((item.name, item.product, item.publisher) for item in (plan, wanted))
    if [text.lower() for text in named] != [text.lower() for text in known]:
        raise ImageNotFound(
            f"planInfo names another purchase plan than {reference.name} has", hint=f"the image's plan is {wanted}"
        )
