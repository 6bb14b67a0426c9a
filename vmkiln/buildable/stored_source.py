"""The image kept here that a source of type ManagedImage or SharedImageVersion means now."""

from vmkiln.errors import ImageNotFound
from vmkiln.images import gallery, managed_image
from vmkiln.store.database import Store
from vmkiln.store.rows import ImageRow
from vmkiln.template.source import ManagedImageSource, SharedImageVersionSource


def stored_image(store: Store, source: ManagedImageSource | SharedImageVersionSource) -> ImageRow:
    """The recorded image that a source names now. Raises: `ImageNotFound`."""
    if isinstance(source, SharedImageVersionSource):
        return gallery.find_version(store, source.image_version_id)
    found = store.images.find(source.image_id)
    if found is None or found.kind != managed_image.KIND:
        raise ImageNotFound(f"there is no managed image {source.image_id}", hint="`vmkiln image list` shows them")
    return found
