"""Platform images: a reference becomes an exact image in the cache, made or fetched when it is not there.

`latest` is resolved at build time: the newest cached image if it is younger than 30 days, else a new one. An exact
version must be in the cache, for neither Debian's archive nor a publisher's download page keeps old ones.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from vmkiln.errors import ImageNotFound, ImageUnsafe
from vmkiln.host.disk_image import virtual_size
from vmkiln.host.qemu import Disk
from vmkiln.images.catalogue import CatalogueEntry, DebianEntry, DownloadEntry, read_catalogue
from vmkiln.images.debian_recipe import DebianRecipe, make_image
from vmkiln.images.image_cache import SourceImage, add, alone, cached_images, checked
from vmkiln.images.image_download import fetch_image

MOST_AGE_DAYS = 30


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


def find_cached(directory: Path, reference: PlatformImageReference) -> SourceImage | None:
    """The cached image a reference means now, or none; a stale one does not count as latest."""
    for image in cached_images(directory):
        if image.name == reference.name:
            if reference.is_latest and image.age_days <= MOST_AGE_DAYS:
                return image
            if image.exact_version == reference.version:
                return image
    return None


async def obtain_platform_image(
    reference: PlatformImageReference,
    *,
    cache_directory: Path,
    user_catalogue: Path,
    progress: Callable[[str], None],
    refresh: bool = False,
) -> SourceImage:
    """The exact image, checked, ready to be a backing file.

    Raises: `ImageNotFound` for a name the catalogue lacks or a version the cache lacks; `DownloadFailed`,
    `ImageUnsafe`, `CommandFailed` when it cannot be had.
    """
    entry = read_catalogue(user_catalogue).find(reference.publisher, reference.offer, reference.sku)
    async with alone(cache_directory, reference.name):
        for _ in range(2):
            image = None if refresh else find_cached(cache_directory, reference)
            if image is None:
                break
            try:
                return await checked(image)
            except ImageUnsafe as error:
                progress(f"{error.message}; getting it anew")
        if not reference.is_latest:
            raise ImageNotFound(
                f"version {reference.version} of {reference.name} is not in the cache",
                hint="use `latest`; `vmkiln image list --cache` shows the versions that are there",
            )
        return await _make(entry, reference, cache_directory, progress)


async def _make(
    entry: CatalogueEntry, reference: PlatformImageReference, directory: Path, progress: Callable[[str], None]
) -> SourceImage:
    now = datetime.now(UTC)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=directory) as folder:
        # mmdebstrap's subordinate id must be able to pass through
        Path(folder).chmod(0o711)
        match entry:
            case DebianEntry():
                file = Path(folder) / "disk.qcow2"
                recipe = DebianRecipe(entry.suite, entry.generation, entry.packages)
                await make_image(recipe, file, progress=progress)
                version = f"{entry.release}.{now:%Y%m%d}.{int(f'{now:%H%M}')}"
                disk_format, os_type, origin = "qcow2", "Linux", f"made from packages of Debian {entry.suite}"
            case DownloadEntry():
                fetched = await fetch_image(entry, directory, Path(folder), progress=progress)
                file, version = fetched.file, fetched.version
                disk_format, os_type, origin = entry.format, entry.os_type, entry.url
        size = await virtual_size(Disk(file, disk_format))
        return add(
            directory,
            file,
            name=reference.name,
            exact_version=version,
            format=disk_format,
            generation=entry.generation,
            os_type=os_type,
            virtual_size_bytes=size,
            origin=origin,
            created=now,
        )
