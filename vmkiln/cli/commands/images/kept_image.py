"""An image that a command names, found in the database and fetched from another host where it lies there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from vmkiln.cli.completing import image_names
from vmkiln.cli.invocation import read_settings
from vmkiln.errors import ImageNotFound, InputError

if TYPE_CHECKING:
    from vmkiln.platform_images.image_reference import PlatformImageReference
    from vmkiln.store.database import Store
    from vmkiln.store.rows import ImageRow

ImageArgument = Annotated[
    str, typer.Argument(help="An image's ARM id, or the end of it (`hello-linux`).", autocompletion=image_names)
]


def find_image(store: Store, text: str) -> ImageRow:
    """The image whose id is, or ends with, `text`. Raises: `ImageNotFound`, `InputError` for more than one."""
    from vmkiln.images import gallery

    if "/versions/" in text.lower():
        return gallery.find_version(store, text)
    rows = [row for row in store.images.list() if row.key == text.lower() or row.key.endswith("/" + text.lower())]
    if not rows:
        raise ImageNotFound(f"there is no image `{text}`", hint="`vmkiln image list` shows them")
    if len(rows) > 1:
        raise InputError(f"more than one image ends with `{text}`", hint="give the whole id")
    return rows[0]


def on_this_machine(store: Store, row: ImageRow) -> ImageRow:
    """The image with its file on this machine, which another host of a fleet may have made."""
    from vmkiln.sharing.shared_storage import shared_storage

    shared = shared_storage(read_settings(), store)
    return row if shared is None else shared.images.fetch(row)


def reference_in(text: str) -> PlatformImageReference:
    """The platform image that a text names. Raises: `InputError`."""
    from vmkiln.platform_images.image_reference import PlatformImageReference

    parts = text.split(":")
    if len(parts) not in {3, 4} or not all(parts):
        raise InputError(f"`{text}` is not PUBLISHER:OFFER:SKU[:VERSION]", hint="such as Debian:debian-12:12")
    publisher, offer, sku = parts[:3]
    return PlatformImageReference(publisher, offer, sku, parts[3] if len(parts) == 4 else "latest")


def known_reference(text: str) -> PlatformImageReference:
    """The same, which the catalogue has: looked at before anything is made ready for it.

    Raises: `InputError`, `ImageNotFound`.
    """
    from vmkiln.platform_images.platform_image import plan_platform_image

    settings, reference = read_settings(), reference_in(text)
    plan_platform_image(reference, cache_directory=settings.image_cache, user_catalogue=settings.catalogue)
    return reference
