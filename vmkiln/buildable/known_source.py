"""What can be said of a template's source without having it: its kind, its size, the version it means now."""

from dataclasses import dataclass

from vmkiln.azure_names import Architecture
from vmkiln.buildable.stored_source import stored_image
from vmkiln.errors import ImageNotFound
from vmkiln.images.data_disk import data_disks_of
from vmkiln.images.image_store import architecture_of
from vmkiln.platform_images.catalogue_entry import os_type_of
from vmkiln.platform_images.image_reference import reference_of
from vmkiln.platform_images.platform_image import plan_platform_image
from vmkiln.settings import Settings
from vmkiln.store.database import Store
from vmkiln.template.source import ManagedImageSource, PlatformImageSource, SharedImageVersionSource, Source


@dataclass(frozen=True)
class KnownSource:
    """A source that is there, or can be had. Until it was had, `exact_version` is '' and the size (bytes) None."""

    exact_version: str
    generation: int
    os_type: str
    virtual_size_bytes: int | None = None
    architecture: Architecture = Architecture.X64
    data_disk_count: int = 0


def known_source(settings: Settings, store: Store | None, source: Source) -> KnownSource | None:
    """The source as it is now; None when it is not there. A `store` of None has no images.

    Raises: `InputError` for a catalogue with mistakes.
    """
    try:
        match source:
            case PlatformImageSource():
                return _platform_image(settings, source)
            case ManagedImageSource() | SharedImageVersionSource() if store is not None:
                image = stored_image(store, source)
                is_version = isinstance(source, SharedImageVersionSource)
                version = image.artifact_id if is_version else image.source_version
                size, architecture = image.virtual_size_bytes, architecture_of(image)
                count = len(data_disks_of(image))
                return KnownSource(version, image.generation, image.os_type, size, architecture, data_disk_count=count)
    except ImageNotFound:
        return None
    return None


def _platform_image(settings: Settings, source: PlatformImageSource) -> KnownSource:
    found = plan_platform_image(
        reference_of(source),
        cache_directory=settings.image_cache,
        user_catalogue=settings.catalogue,
        most_age_days=settings.platform_image_most_age_days,
    )
    return KnownSource(
        exact_version=found.cached.exact_version if found.cached else "",
        generation=found.entry.generation,
        os_type=os_type_of(found.entry),
        virtual_size_bytes=found.cached.virtual_size_bytes if found.cached else None,
        architecture=Architecture(found.entry.architecture),
    )
