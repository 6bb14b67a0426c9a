"""Logs in the object store that hosts share: in pieces, so that a long one is not sent whole whenever it grows.

A log lies below its own path, `<path>/<attempt>/<piece>`: pieces of 1 MiB, of which only the last is written again
while it grows. Every attempt of a run has pieces of its own, from the log's beginning on, so one that stood still and
goes on again changes nothing that anybody reads.

*Leaves behind:* the pieces. *Undone by:* deleting the staging resource group. *Safe to repeat:* yes.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vmkiln.files.private_folder import private_file, private_folder
from vmkiln.sharing.object_store import ObjectStore, StoredObject

PIECE_BYTES = 1024**2


def piece_key(log: str, attempt: int, index: int) -> str:
    """The key of a piece; keys sort by attempt, then by position."""
    return f"{log}/{attempt:04}/{index:06}"


def log_of(key: str) -> str:
    """The log that a piece belongs to."""
    return key.rpartition("/")[0].rpartition("/")[0]


def place_of(key: str) -> tuple[int, int]:
    """The attempt and the index of a piece. Raises: `ValueError` when it is none."""
    _, attempt, index = key.rsplit("/", 2)
    return int(attempt), int(index)


@dataclass
class SentLog:
    """A log that this host writes, as one attempt of a run; remembers how much was sent."""

    objects: ObjectStore
    log: str
    attempt: int
    _sent: int = 0

    def send(self, file: Path) -> None:
        """Send what is new; content when there is no log yet. Raises: `SharedStorageFailed`."""
        with contextlib.suppress(FileNotFoundError), file.open("rb") as content:
            size = file.stat().st_size
            while self._sent < size:
                index = self._sent // PIECE_BYTES
                start = index * PIECE_BYTES
                content.seek(start)
                piece = content.read(min(PIECE_BYTES, size - start))
                self.objects.put(piece_key(self.log, self.attempt, index), piece)
                self._sent = start + len(piece)


@dataclass
class FollowedLog:
    """A log that another host writes, kept in a file here; the newest attempt's is the one that counts."""

    objects: ObjectStore
    log: str
    _attempt: int = 0

    def pull(self, file: Path) -> None:
        """Fetch what is new; content when there is nothing. Raises: `SharedStorageFailed`."""
        self.take(file, self.objects.objects(self.log))

    def take(self, file: Path, found: Sequence[StoredObject]) -> None:
        """Fetch what is new of the log's pieces, all of which were just listed. Raises: `SharedStorageFailed`."""
        if not found:
            return
        here = file.stat().st_size if file.exists() else 0
        newest = max(place_of(item.key)[0] for item in found)
        pieces = [item for item in found if place_of(item.key)[0] == newest]
        if newest != self._attempt:
            is_known = self._attempt == 0 and here == sum(piece.size_bytes for piece in pieces)
            if not is_known:  # what is here may be another attempt's
                self._replace(file, pieces)
            self._attempt = newest
        else:
            self._append(file, here, pieces)

    def _append(self, file: Path, here: int, pieces: Sequence[StoredObject]) -> None:
        private_folder(file.parent)
        with private_file(file, "ab", buffering=0) as target:
            for piece in pieces:
                position = here - place_of(piece.key)[1] * PIECE_BYTES
                if position < 0:
                    return  # a piece between is missing; what follows it comes later
                if position < piece.size_bytes:
                    here += target.write(self.objects.read_from(piece.key, position, most_bytes=PIECE_BYTES))

    def _replace(self, file: Path, pieces: Sequence[StoredObject]) -> None:
        private_folder(file.parent)
        temporary = file.with_name(f".{file.name}.part")
        temporary.unlink(missing_ok=True)
        try:
            self._append(temporary, 0, pieces)
            temporary.rename(file)
        finally:
            temporary.unlink(missing_ok=True)
