"""Platform images: a reference becomes an exact image in the cache, made or fetched when it is not there.

`latest` is resolved at build time: the newest cached image if it is younger than 30 days and its catalogue entry has
not changed since, else a new one. An exact version comes from the cache, or from its publisher where that keeps dated
builds; nobody else has old ones.

*Leaves behind:* the image in the cache. *Undone by:* `image_cache.remove`. *Safe to repeat:* yes.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from vmkiln.azure_names import Architecture
from vmkiln.errors import DownloadFailed, ImageNotFound, ImageUnsafe
from vmkiln.fetching.http_fetch import Patience
from vmkiln.fetching.way_out import STRAIGHT, WayOut
from vmkiln.host.disk.disk_image import virtual_size
from vmkiln.host.doctor.image_kernel import KERNEL
from vmkiln.host.making import work_group
from vmkiln.host.qemu import Disk
from vmkiln.platform_images import making_folder
from vmkiln.platform_images.catalogue import Catalogue, read_catalogue
from vmkiln.platform_images.catalogue_entry import (
    CatalogueEntry,
    DebianEntry,
    DownloadEntry,
    ImportedEntry,
    os_type_of,
)
from vmkiln.platform_images.debian_recipe import make_image
from vmkiln.platform_images.image_cache import SourceImage, add, add_name, cached_images, checked, renew
from vmkiln.platform_images.image_download import FetchedImage, fetch_image
from vmkiln.platform_images.image_reference import (
    PlatformImageReference,
    Resolution,
    debian_recipe,
    imported_entries,
    recipe_of,
    resolve,
    version_numbers,
)
from vmkiln.platform_images.inspection import inspected
from vmkiln.platform_images.published_builds import (
    Build,
    at_build,
    build_of,
    published_builds,
)
from vmkiln.settings import Settings
from vmkiln.waiting.alone import alone
from vmkiln.waiting.off_loop import off_loop

KEYRINGS = "keyrings"
INDEX_ATTEMPTS = 2


def whole_catalogue(settings: Settings) -> Catalogue:
    """The catalogue with the images that were imported on this machine. Raises: `InputError` for the user's file."""
    return read_catalogue(settings.catalogue, imported_entries(cached_images(settings.image_cache)))


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
    cached = cached_images(cache_directory)
    entry = _find(reference, user_catalogue, cached)
    return resolve(reference, entry, cached, now=datetime.now(UTC), most_age_days=most_age_days)


def _find(reference: PlatformImageReference, user_catalogue: Path, cached: Sequence[SourceImage]) -> CatalogueEntry:
    """The entry of a reference; the one that was there before, where a version of it is asked for that was imported."""
    catalogue = read_catalogue(user_catalogue, imported_entries(cached))
    entry = catalogue.find(reference.publisher, reference.offer, reference.sku)
    if isinstance(entry, ImportedEntry) and not reference.is_latest and reference.version not in entry.versions:
        name = (reference.publisher.lower(), reference.offer.lower(), reference.sku.lower())
        return read_catalogue(user_catalogue).entries.get(name, entry)
    return entry


async def check_published(
    reference: PlatformImageReference,
    *,
    cache_directory: Path,
    user_catalogue: Path,
    patience: Patience | None = None,
    progress: Callable[[str], None] = lambda _text: None,
    way_out: WayOut = STRAIGHT,
) -> None:
    """Ask the publisher for an exact version that is not in the cache; of any other image nothing is asked.

    Raises: `ImageNotFound`, naming the versions that can be had; `DownloadFailed` when the publisher does not answer.
    """
    found = await off_loop(
        lambda: plan_platform_image(reference, cache_directory=cache_directory, user_catalogue=user_catalogue)
    )
    if found.cached is None and not reference.is_latest and isinstance(found.entry, DownloadEntry):
        patience = patience or Patience()
        builds = await published_builds(found.entry, progress=progress, patience=patience, way_out=way_out)
        kept = await off_loop(_kept_versions, cache_directory, reference.name)
        build_of(reference.version, found.entry, builds, kept=kept)


def _kept_versions(cache_directory: Path, name: str) -> list[str]:
    return [image.exact_version for image in cached_images(cache_directory) if image.name == name]


async def obtain_platform_image(
    reference: PlatformImageReference,
    *,
    cache_directory: Path,
    user_catalogue: Path,
    progress: Callable[[str], None],
    refresh: bool = False,
    patience: Patience | None = None,
    most_age_days: float = Settings.platform_image_most_age_days,
    way_out: WayOut = STRAIGHT,
) -> SourceImage:
    """The exact image, checked, ready to be a backing file.

    Own keyrings for signed images are looked for in the folder `keyrings` beside the user's catalogue. A cached image
    found damaged is set aside and had anew, once. Cancelling ends all that was started and leaves nothing but the
    part of a download that arrived.

    Raises: `ImageNotFound` for a name the catalogue lacks or a version the cache lacks; `InputError` for a catalogue
    with mistakes; `HostUnfit`, `DownloadFailed`, `ImageUnsafe`, `CommandFailed` when it cannot be had.
    """
    entry = await off_loop(lambda: _find(reference, user_catalogue, cached_images(cache_directory)))
    if entry.note:
        progress(f"{reference.name}: {entry.note}")
    fetching = _Fetching(cache_directory, user_catalogue.parent / KEYRINGS, progress, patience or Patience(), way_out)

    def tell_waiting() -> None:
        progress(f"waiting for another process that is getting {reference.name}")

    async with alone(cache_directory, reference.name, waiting=tell_waiting):
        while True:
            cached = await off_loop(cached_images, cache_directory)
            now = datetime.now(UTC)
            resolution = resolve(reference, entry, cached, now=now, refresh=refresh, most_age_days=most_age_days)
            if resolution.cached is None:
                twin = None if refresh else _twin(reference, entry, cached, now=now, most_age_days=most_age_days)
                return await _new(entry, reference, fetching, twin)
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
    way_out: WayOut


def _twin(
    reference: PlatformImageReference,
    entry: CatalogueEntry,
    cached: Sequence[SourceImage],
    *,
    now: datetime,
    most_age_days: float,
) -> SourceImage | None:
    """The same download under another name (a second generation, an alias), which need not be fetched again; pure."""
    if not isinstance(entry, DownloadEntry):
        return None
    same = [image for image in cached if image.recipe == recipe_of(entry)]
    if not reference.is_latest:
        return next((image for image in same if image.exact_version == reference.version), None)
    fresh = [image for image in same if image.is_newest and image.age_days(now) <= most_age_days]
    return max(fresh, key=lambda image: version_numbers(image.exact_version), default=None)


async def _new(
    entry: CatalogueEntry, reference: PlatformImageReference, fetching: _Fetching, twin: SourceImage | None
) -> SourceImage:
    if twin is not None:
        facts = {"name": reference.name, "generation": entry.generation, "architecture": entry.architecture}
        fetching.progress(f"{reference.name} is the same image as {twin.name}, which is in the cache")
        try:
            return await asyncio.to_thread(add_name, fetching.cache_directory, await checked(twin), **facts)
        except ImageUnsafe as error:
            fetching.progress(f"{error.message}; getting it anew")
    for parent in (fetching.cache_directory, making_folder.shared_parent(os.environ)):
        await making_folder.remove_abandoned(parent)
    async with making_folder.opened(fetching.cache_directory) as folder, work_group.held():
        match entry:
            case DebianEntry():
                return await _made(entry, reference, fetching, folder)
            case DownloadEntry():
                return await _downloaded(entry, reference, fetching, folder)
            case ImportedEntry():
                raise ImageNotFound(f"the imported image {reference.name} is gone", hint="import it again")


async def _made(
    entry: DebianEntry, reference: PlatformImageReference, fetching: _Fetching, folder: Path
) -> SourceImage:
    file = folder / "disk.qcow2"
    archived = await make_image(debian_recipe(entry), file, progress=fetching.progress)
    return await take_in(
        fetching.cache_directory,
        file,
        # this host's QEMU is tried with kernels of its own architecture
        kernel=file.with_name(KERNEL) if entry.architecture == Architecture.X64 else None,
        name=reference.name,
        exact_version=f"{entry.release}.{archived:%Y%m%d}.{int(f'{archived:%H%M}')}",
        generation=entry.generation,
        architecture=entry.architecture,
        os_type=os_type_of(entry),
        origin=f"made from packages of Debian {entry.suite} of {archived:%Y-%m-%d %H:%M} UTC",
        recipe=recipe_of(entry),
    )


async def _downloaded(
    entry: DownloadEntry, reference: PlatformImageReference, fetching: _Fetching, folder: Path
) -> SourceImage:
    build, is_newest = await _chosen_build(entry, reference, fetching)
    at = entry if build is None else at_build(entry, build)
    if build is not None and (kept := await off_loop(_kept, fetching.cache_directory, reference, entry, build)):
        fetching.progress(f"{reference.name} has no newer build than {build.version}, which is in the cache")
        return await off_loop(lambda: renew(kept, now=datetime.now(UTC)))
    fetched = await fetch_image(
        at,
        folder,
        parts=fetching.cache_directory,
        own_keyrings=fetching.own_keyrings,
        progress=fetching.progress,
        patience=fetching.patience,
        way_out=fetching.way_out,
    )
    file = folder / "disk.qcow2"
    await inspected(fetched.file, entry.format, file)
    return await take_in(
        fetching.cache_directory,
        file,
        name=reference.name,
        exact_version=exact_version(entry, fetched) if build is None else build.version,
        generation=entry.generation,
        architecture=entry.architecture,
        os_type=entry.os_type,
        origin=at.url,
        recipe=recipe_of(entry),
        published_digest=f"{fetched.checksum.algorithm}:{fetched.checksum.digest}",
        is_newest=is_newest,
    )


def _kept(directory: Path, reference: PlatformImageReference, entry: DownloadEntry, build: Build) -> SourceImage | None:
    """The cached image that is this build and whose file is there; its content is checked when it is used."""
    for image in cached_images(directory):
        is_it = (image.name, image.recipe, image.exact_version) == (reference.name, recipe_of(entry), build.version)
        if is_it and reference.is_latest and image.path.is_file():
            return image
    return None


async def _chosen_build(
    entry: DownloadEntry, reference: PlatformImageReference, fetching: _Fetching
) -> tuple[Build | None, bool]:
    """The publisher's build of a reference, and whether it is the newest; None for the address that stays the same.

    Raises: `ImageNotFound`, `DownloadFailed`.
    """
    if entry.builds is None:
        return None, True
    patience = fetching.patience
    if reference.is_latest:  # there is another way, so nobody waits long for this one
        patience = replace(patience, attempts=min(patience.attempts, INDEX_ATTEMPTS))
    try:
        builds = await published_builds(entry, progress=fetching.progress, patience=patience, way_out=fetching.way_out)
    except DownloadFailed as error:
        if not reference.is_latest:
            raise
        fetching.progress(f"{error.message}; taking the image at {entry.url}")
        return None, True
    if reference.is_latest:
        if not builds:
            fetching.progress(f"{entry.builds.index_url} names no build; taking the image at {entry.url}")
        return (builds[0] if builds else None), True
    kept = await off_loop(_kept_versions, fetching.cache_directory, reference.name)
    build = build_of(reference.version, entry, builds, kept=kept)
    return build, build == builds[0]


async def take_in(
    directory: Path, file: Path, *, kernel: Path | None = None, created: datetime | None = None, **facts: object
) -> SourceImage:
    """Move a qcow2 file of our own making into the cache. Raises: `StorageFailed`."""
    size = await virtual_size(Disk(file, "qcow2"))
    return await asyncio.to_thread(
        lambda: add(
            directory,
            file,
            kernel=kernel,
            format="qcow2",
            virtual_size_bytes=size,
            created=created or datetime.now(UTC),
            **facts,
        )
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
