"""Images in the object store that the hosts of a fleet share.

An image is stored, and read again to compare, before it is recorded; the record names the object. Whoever needs it gets
it once for each host, compares its SHA-256, and keeps it where the host that made it has it. All targets of a run that
have the same bytes share one object. Keys have the run and the attempt in them, so an attempt that stood still and goes
on again cannot touch what a newer one published.

*Leaves behind:* the objects, and the copies on hosts. *Undone by:* `delete`; whatever that misses, `reconcile`.
*Safe to repeat:* yes.
"""

import contextlib
import hashlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from vmkiln.errors import ImageNotFound, ImageUnsafe, ObjectMissing
from vmkiln.files import locks
from vmkiln.files.private_folder import private_folder
from vmkiln.images.data_disk import SHARED_OBJECT, parts_of
from vmkiln.images.image_note import read, written
from vmkiln.images.image_store import shared_object_of
from vmkiln.images.quarantine import not_on_record
from vmkiln.run_state import GOING_ON
from vmkiln.settings import Settings
from vmkiln.sharing.object_store import ObjectStore
from vmkiln.store.database import Store
from vmkiln.store.rows import ImageRow
from vmkiln.store.run_facts import finished_objects

IMAGES = "images"
NOTE_ENDING = ".json"
log = logging.getLogger(__name__)


def image_key(*, run_id: str, attempt: int, digest: str, file_format: str) -> str:
    """The key of an image: what another attempt makes has another."""
    return f"{IMAGES}/{run_id}/{attempt:04}/{digest}.{file_format}"


def run_of(key: str) -> str:
    """The run that stored an image; '' for what is no image's key."""
    parts = key.split("/")
    return parts[1] if len(parts) == 4 and parts[0] == IMAGES else ""


@contextlib.contextmanager
def one_at_a_time(settings: Settings, name: str) -> Iterator[None]:
    """One thread of one process of this host at a time does what has this name; others wait."""
    private_folder(settings.shared_locks)
    with locks.exclusive(locks.file_of(settings.shared_locks, name)):
        yield


def objects_of(image: ImageRow) -> list[str]:
    """The object of each file of an image; '' for a file that is only on the host that made it."""
    return [str(part.detail.get(SHARED_OBJECT, "")) for part in parts_of(image)]


class SharedImages:
    """The images of all hosts; every method blocks."""

    def __init__(self, settings: Settings, store: Store, objects: ObjectStore) -> None:
        self._settings = settings
        self._store = store
        self._objects = objects
        self._kept: set[str] = set()

    def share(self, file: Path, *, run_id: str, attempt: int, digest: str, file_format: str) -> str:
        """Store a finished image, compare what was stored, and return its key, which is to be recorded.

        Raises: `SharedStorageFailed`.
        """
        key = image_key(run_id=run_id, attempt=attempt, digest=digest, file_format=file_format)
        self._objects.put_file(key, file, digest=digest)
        return key

    def fetch(self, image: ImageRow) -> ImageRow:
        """The image, whose files are on this host then, at its `path`; another's fetching of it is waited for.

        The OS disk comes as the last: where it is, the image is whole.

        Raises: `ImageNotFound` when no host gave it to the others, `ImageUnsafe` when its object was changed (nothing
        of it is kept), `SharedStorageFailed`.
        """
        if image.path.is_file():
            return image
        if not all(objects_of(image)):
            raise ImageNotFound(
                f"the image {image.artifact_id} is on the host that made it, and not in the shared storage",
                hint="it was made before VMKILN_OBJECT_STORE was set: build it again",
            )
        with one_at_a_time(self._settings, str(image.path)):
            if image.path.is_file():
                return image
            for part in parts_of(image):
                self._get(part)
            return image

    def _get(self, part: ImageRow) -> None:
        if part.path.is_file():
            return
        key = str(part.detail[SHARED_OBJECT])
        try:
            self._objects.get_file(key, part.path, digest=part.digest, mode=0o400)
        except ObjectMissing as error:
            raise ImageNotFound(f"the object of the image {part.artifact_id} is gone: {key}") from error
        except ImageUnsafe:
            with contextlib.suppress(OSError):
                part.path.parent.rmdir()  # made for it, unless it holds something else
            raise

    def delete(self, image: ImageRow) -> None:
        """Delete the object of an image whose record is gone, unless other images or a live run need it.

        Raises: `SharedStorageFailed`; `reconcile` deletes it then.
        """
        run = self._store.runs.by_id([image.run_id]).get(image.run_id)
        if run is not None and run.ended is None:
            return
        self.purge(image)

    def reconcile(self) -> list[str]:
        """Delete the objects that no record names and no live run is publishing; returns their keys.

        Records get the notes that they lack. What has a note and no record was on record once, and stays, as do objects
        of runs that the records never knew: the records are older than they are (`images/quarantine.py`).

        Raises: `SharedStorageFailed`.
        """
        # The order matters. An object that appears after the first line is not deleted by this look. A run that ended
        # before the second or third line has recorded its images by the fourth.
        found = [item.key for item in self._objects.objects(IMAGES, with_unfinished=True)]
        live = {run.run_id for run in self._store.runs.list(limit=None, states=GOING_ON)}
        needed = self._needed(found)
        rows = [row for row in self._store.images.list() if shared_object_of(row)]
        named, notes = self._named() | needed, {self._note_key(row): row for row in rows}
        for key in sorted(notes.keys() - set(found)):
            if shared_object_of(notes[key]) in found:
                self._objects.put(key, written(notes[key], self._settings.home))
        left = [key for key in found if key not in named and key not in notes and run_of(key) not in live]
        kept = self._older_than(left)
        left = [key for key in left if key not in kept]
        if kept - self._kept:
            log.warning(
                "%d objects in the object store are not in the records, and are kept: `vmkiln image quarantine`",
                len(kept),
            )
        self._kept = kept
        self._objects.delete(left)
        return left

    def quarantined(self) -> list[ImageRow]:
        """The images that have a note in the object store, and neither a record nor word that they were deleted.

        Raises: `SharedStorageFailed`.
        """
        keys = [item.key for item in self._objects.objects(IMAGES)]
        return not_on_record(self._noted(keys), self._store)

    def purge(self, image: ImageRow) -> None:
        """Delete what is stored of an image that is in quarantine no more. Raises: `SharedStorageFailed`."""
        named = self._named()
        own = [key for key in objects_of(image) if key and key not in named]
        self._objects.delete([*own, *([self._note_key(image)] if shared_object_of(image) else [])])

    def _older_than(self, left: Sequence[str]) -> set[str]:
        """The keys among those without a record that the records are older than."""
        if not left:
            return set()
        known = self._store.runs.by_id(sorted({run_of(key) for key in left}))
        lost = not_on_record(self._noted(left), self._store)
        of_lost = {key for image in lost for key in (*objects_of(image), self._note_key(image))}
        return of_lost | {key for key in left if run_of(key) and run_of(key) not in known}

    def _noted(self, keys: Sequence[str]) -> list[ImageRow]:
        found = []
        for key in keys:
            if key.endswith(NOTE_ENDING):
                with contextlib.suppress(ObjectMissing, ValueError):
                    found.append(read(self._objects.read_from(key, 0), self._settings.home))
        return found

    def _note_key(self, image: ImageRow) -> str:
        """The key of an image's note: beside its object, another for each image that has the same bytes; pure."""
        name = hashlib.sha256(image.key.encode()).hexdigest()[:16]
        return f"{shared_object_of(image).rpartition('/')[0]}/{name}{NOTE_ENDING}"

    def _needed(self, keys: Sequence[str]) -> set[str]:
        """Those of these objects that a run which waits goes on from."""
        runs = self._store.runs.by_id(sorted({run_of(key) for key in keys} - {""}))
        return {key for run in runs.values() if run.ended is None for key in finished_objects(run.facts)}

    def _named(self) -> set[str]:
        return {key for image in self._store.images.list() for key in objects_of(image)}
