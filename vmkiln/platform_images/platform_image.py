"""Platform images: a reference becomes an exact image in the cache, made or fetched when it is not there.

`latest` is resolved at build time: the newest cached image if it is younger than 30 days and its catalogue entry has
not changed since, else a new one. An exact version must be in the cache, for neither Debian's archive nor a
publisher's download page keeps old ones.

*Leaves behind:* the image in the cache. *Undone by:* `image_cache.remove`. *Safe to repeat:* yes.
"""

import asyncio
import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from vmkiln.errors import ImageNotFound, ImageUnsafe
from vmkiln.fetching import Patience
from vmkiln.host.disk.disk_image import convert, virtual_size
from vmkiln.host.doctor.image_kernel import KERNEL
from vmkiln.host.qemu import Disk
from vmkiln.images.image_header import inspect_image
from vmkiln.platform_images import making_folder
from vmkiln.platform_images.catalogue import CatalogueEntry, DebianEntry, DownloadEntry, read_catalogue
from vmkiln.platform_images.debian_recipe import DebianRecipe, make_image, recipe_digest
from vmkiln.platform_images.image_cache import SourceImage, add, cached_images, checked
from vmkiln.platform_images.image_download import FetchedImage, fetch_image
from vmkiln.settings import Settings
from vmkiln.waiting.alone import alone
from vmkiln.waiting.off_loop import off_loop

KEYRINGS = "keyrings"


@dataclass(frozen=True)
class PlatformImageReference:
    """What a template names."""

    publisher: str
    offer: str
    sku: str
    version: str = "latest"

    @property
    def name(self) -> str:
        """`publisher:offer:sku` in lower case."""
        return f"{self.publisher}:{self.offer}:{self.sku}".lower()

    @property
    def is_latest(self) -> bool:
        """Whether the newest version is meant."""
        return self.version.lower() == "latest"


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
    """By what an entry's image is made or from where it is fetched, as a SHA-256."""
    match entry:
        case DebianEntry():
            return recipe_digest(_recipe(entry))
        case DownloadEntry():
            values = (entry.url, entry.checksum_url, entry.format, entry.signature, entry.keyring, entry.version)
            return hashlib.sha256("\0".join(values).encode()).hexdigest()


def _recipe(entry: DebianEntry) -> DebianRecipe:
    return DebianRecipe(entry.suite, entry.generation, entry.packages, entry.mirrors)


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

    `latest` never is a stale image: one older than `most_age_days`, or made by an older recipe, is not used.
    Raises: `ImageNotFound` for an exact version that the cache lacks, naming those it has.
    """
    mine = [image for image in cached if image.name == reference.name]
    if not reference.is_latest:
        exact = next((image for image in mine if image.exact_version == reference.version), None)
        if exact is None:
            versions = ", ".join(image.exact_version for image in mine) or "none"
            raise ImageNotFound(
                f"version {reference.version} of {reference.name} is not in the cache, and only the newest can be had",
                hint=f"use `latest`; versions in the cache: {versions}",
            )
        return Resolution(entry, Action.USE, exact, f"version {exact.exact_version} from the cache")
    newest = next((image for image in mine if image.recipe == recipe_of(entry)), None)
    if newest is not None and not refresh and newest.age_days(now) <= most_age_days:
        age = f"{newest.age_days(now):.0f} days old"
        return Resolution(entry, Action.USE, newest, f"version {newest.exact_version} from the cache, {age}")
    if isinstance(entry, DebianEntry):
        return Resolution(entry, Action.MAKE, None, f"to be made from packages of Debian {entry.suite}")
    return Resolution(entry, Action.FETCH, None, f"to be fetched from {entry.url}")


def plan_platform_image(
    reference: PlatformImageReference,
    *,
    cache_directory: Path,
    user_catalogue: Path,
    most_age_days: float = Settings.platform_image_most_age_days,
) -> Resolution:
    """What `obtain_platform_image` would do now; reads the catalogue and the cache's records only.

    Raises: `ImageNotFound`, `InputError`.
    """
    entry = read_catalogue(user_catalogue).find(reference.publisher, reference.offer, reference.sku)
    return resolve(reference, entry, cached_images(cache_directory), now=datetime.now(UTC), most_age_days=most_age_days)


async def obtain_platform_image(
    reference: PlatformImageReference,
    *,
    cache_directory: Path,
    user_catalogue: Path,
    progress: Callable[[str], None],
    refresh: bool = False,
    patience: Patience | None = None,
    most_age_days: float = Settings.platform_image_most_age_days,
) -> SourceImage:
    """The exact image, checked, ready to be a backing file.

    Own keyrings for signed images are looked for in the folder `keyrings` beside the user's catalogue. A cached image
    found damaged is set aside and had anew, once. Cancelling ends all that was started and leaves nothing but the
    part of a download that arrived.

    Raises: `ImageNotFound` for a name the catalogue lacks or a version the cache lacks; `InputError` for a catalogue
    with mistakes; `HostUnfit`, `DownloadFailed`, `ImageUnsafe`, `CommandFailed` when it cannot be had.
    """
    entry = read_catalogue(user_catalogue).find(reference.publisher, reference.offer, reference.sku)
    fetching = _Fetching(cache_directory, user_catalogue.parent / KEYRINGS, progress, patience or Patience())

    def tell_waiting() -> None:
        progress(f"waiting for another process that is getting {reference.name}")

    async with alone(cache_directory, reference.name, waiting=tell_waiting):
        while True:
            cached = cached_images(cache_directory)
            now = datetime.now(UTC)
            resolution = resolve(reference, entry, cached, now=now, refresh=refresh, most_age_days=most_age_days)
            if resolution.cached is None:
                return await _new(entry, reference, fetching)
            try:
                return await checked(resolution.cached)
            except ImageUnsafe as error:  # it is out of the cache now, so the next turn does not find it
                progress(f"{error.message}; getting it anew")


@dataclass(frozen=True)
class _Fetching:
    cache_directory: Path
    own_keyrings: Path
    progress: Callable[[str], None]
    patience: Patience


async def _new(entry: CatalogueEntry, reference: PlatformImageReference, fetching: _Fetching) -> SourceImage:
    directory = fetching.cache_directory
    for parent in (directory, making_folder.shared_parent(os.environ)):
        await making_folder.remove_abandoned(parent)
    async with making_folder.opened(directory) as folder:
        file = folder / "disk.qcow2"
        published, kernel = "", None
        match entry:
            case DebianEntry():
                archived = await make_image(_recipe(entry), file, progress=fetching.progress)
                kernel = file.with_name(KERNEL)
                version = f"{entry.release}.{archived:%Y%m%d}.{int(f'{archived:%H%M}')}"
                origin = f"made from packages of Debian {entry.suite} of {archived:%Y-%m-%d %H:%M} UTC"
            case DownloadEntry():
                fetched = await fetch_image(
                    entry,
                    folder,
                    parts=directory,
                    own_keyrings=fetching.own_keyrings,
                    progress=fetching.progress,
                    patience=fetching.patience,
                )
                await _take_in(fetched.file, entry.format, file)
                published = f"{fetched.checksum.algorithm}:{fetched.checksum.digest}"
                version, origin = exact_version(entry, fetched), entry.url
        return await asyncio.to_thread(
            add,
            directory,
            file,
            kernel=kernel,
            name=reference.name,
            exact_version=version,
            format="qcow2",
            generation=entry.generation,
            os_type=entry.os_type if isinstance(entry, DownloadEntry) else "Linux",
            virtual_size_bytes=await virtual_size(Disk(file, "qcow2")),
            origin=origin,
            created=datetime.now(UTC),
            recipe=recipe_of(entry),
            published_digest=published,
        )


def exact_version(entry: DownloadEntry, fetched: FetchedImage) -> str:
    """The version of a fetched image: the entry's own, else `release.date` of its checksum file, three numbers.

    Without a date the third number comes from the checksum, so that another image has another version. Pure.
    """
    if entry.version:
        return entry.version
    release = entry.release or "0"
    numbers = [str(int(number)) if number.isdigit() else "0" for number in release.split(".")[:2]]
    last = f"{fetched.published:%Y%m%d}" if fetched.published else str(int(fetched.checksum.digest[:7], 16))
    return ".".join([*numbers, last, "0"][:3])


async def _take_in(fetched: Path, image_format: str, target: Path) -> None:
    """A fetched file, looked at before any QEMU tool opens it, as an uncompressed qcow2 file of our own making."""
    await off_loop(_inspect, fetched, image_format)
    await convert(Disk(fetched, "qcow2" if image_format == "qcow2" else "raw"), target, target_format="qcow2")
    await off_loop(fetched.unlink)


def _inspect(fetched: Path, image_format: str) -> None:
    size_bytes = inspect_image(fetched, expected_format=image_format)
    if image_format == "vhd":  # what comes before the footer is the raw disk
        with fetched.open("r+b") as file:
            file.truncate(size_bytes)
