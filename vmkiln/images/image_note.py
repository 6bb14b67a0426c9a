"""What lies beside an image and says what it is: enough to record it again when a database was restored without it.

A file that no record names is a leftover of a process that died, and is deleted; one that has a note was on record
once, so the records are older than it is. It is kept until somebody says what becomes of it (`quarantine`).

*Leaves behind:* `record.json` in the image's folder; of a VHD `image-records/NAME.json` in its staging resource group.
*Undone by:* deleting the image; whatever that misses, `forget_lost`. *Safe to repeat:* yes.
"""

import contextlib
import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from vmkiln.errors import StorageFailed
from vmkiln.files.durable_file import make_folder, write_whole
from vmkiln.store.rows import ImageRow

NOTE = "record.json"
NOTES = "image-records"  # beside the storage account, not in it: what lies there are blobs
VHD = "VHD"


def note_of(image: ImageRow) -> Path:
    """Where the note of an image is, or would be; pure."""
    if image.kind == VHD:  # GROUP/ACCOUNT/CONTAINER/NAME
        return image.path.parents[2] / NOTES / f"{image.path.name}.json"
    return image.path.parent / NOTE


def written(image: ImageRow, home: Path) -> bytes:
    """An image's record as a note has it, its path relative to the state directory; pure."""
    path = image.path.relative_to(home) if image.path.is_relative_to(home) else image.path
    return json.dumps({**vars(image), "path": str(path), "created": image.created.isoformat()}).encode() + b"\n"


def read(content: bytes, home: Path) -> ImageRow:
    """The record that a note has; pure. Raises: `ValueError` for what is no note."""
    try:
        values: Mapping[str, Any] = json.loads(content)
        created = datetime.fromisoformat(values["created"])
        return ImageRow(**{**values, "path": home / str(values["path"]), "created": created})
    except (KeyError, TypeError) as error:
        raise ValueError("this is no note of an image") from error


def note_down(images: Iterable[ImageRow], home: Path) -> None:
    """Write the notes that are missing of images whose files are here; on a full disk, later."""
    for image in images:
        note = note_of(image)
        if image.path.is_file() and not note.exists():
            with contextlib.suppress(StorageFailed):
                make_folder(note.parent)
                write_whole(note, written(image, home))


def noted(note: Path, home: Path) -> ImageRow | None:
    """The record that a note has; none when there is no note, or none that can be read."""
    try:
        return read(note.read_bytes(), home)
    except (OSError, ValueError):
        return None


def forget_lost(notes: Iterable[Path], there: Iterable[Path]) -> None:
    """Delete the notes of VHDs that are not `there` any more."""
    names = {(path.parents[2], f"{path.name}.json") for path in there}
    for note in notes:
        if (note.parents[1], note.name) not in names:
            forget(note)


def forget(note: Path) -> None:
    """Delete the note of a VHD, with its folder when it was the last one there."""
    note.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        note.parent.rmdir()
