"""Images that the records do not have though they once did, as after a back-up was restored: listed, adopted, purged.

They stay where they are, and nothing uses them. What was deleted on purpose is on record as gone, and is none of these.
"""

import shutil
from collections.abc import Iterable
from pathlib import Path

from vmkiln.images.image_note import NOTE, NOTES, VHD, forget, note_of, noted
from vmkiln.settings import Settings
from vmkiln.store.database import Store
from vmkiln.store.rows import ImageRow


def notes_here(settings: Settings) -> list[Path]:
    """The notes of all images whose files are on this host."""
    return [*sorted(settings.image_store.glob(f"*/{NOTE}")), *sorted(settings.staging.glob(f"*/{NOTES}/*.json"))]


def unrecorded(settings: Settings, store: Store) -> list[ImageRow]:
    """The images on this host that are in quarantine, the newest first."""
    known = {note_of(image) for image in store.images.list() if image.path.is_relative_to(settings.home)}
    unknown = [note for note in notes_here(settings) if note not in known]
    found = [image for note in unknown if (image := noted(note, settings.home)) is not None]
    return newest_first(not_on_record((image for image in found if image.path.is_file()), store))


def not_on_record(images: Iterable[ImageRow], store: Store) -> list[ImageRow]:
    """Those of some images that neither a record names nor was deleted on purpose."""
    known = {image.path for image in store.images.list()}
    left = [image for image in images if image.path not in known]
    gone = store.images.gone(image.path for image in left)
    return [image for image in left if image.path not in gone]


def newest_first(images: Iterable[ImageRow]) -> list[ImageRow]:
    """Images by when they were made; pure."""
    return sorted(images, key=lambda image: (image.created, image.artifact_id), reverse=True)


def adopt(image: ImageRow, store: Store) -> None:
    """Record an image of the quarantine again. Raises: `ImageConflict` when its id is taken meanwhile."""
    definition, _, version = image.artifact_id.partition("/versions/")
    if version:
        store.images.add_version(image, definition_id=definition)
    else:
        store.images.add(image)


def purge(image: ImageRow, store: Store) -> None:
    """Delete the files of an image of the quarantine for good; that it is gone is on record first.

    A record of its id is another image's, made meanwhile, and stays.
    """
    store.images.give_up(image)
    if image.kind == VHD:
        image.path.unlink(missing_ok=True)
        forget(note_of(image))
    else:
        shutil.rmtree(image.path.parent, ignore_errors=True)
