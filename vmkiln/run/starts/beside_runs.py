"""Room of this host for what is not a run: counted with what runs were promised, as long as its process has it.

*Leaves behind:* a record, and the file of a lock. *Undone by:* leaving the block; `give_back_left`, when its process
was killed. *Safe to repeat:* yes.
"""

import contextlib
import logging
import uuid
from collections.abc import Iterator

from vmkiln.errors import StorageFailed
from vmkiln.files import locks
from vmkiln.files.private_folder import private_folder
from vmkiln.host.host_id import host_id
from vmkiln.run.room import Room
from vmkiln.settings import Settings
from vmkiln.store.database import Store
from vmkiln.store.hosts.room_table import TakenRoom

log = logging.getLogger(__name__)


@contextlib.contextmanager
def taken(settings: Settings, store: Store, room: Room, what: str) -> Iterator[None]:
    """Have this room of the host until the block is left: no run gets it. Blocks. Raises: `StorageFailed`."""
    row = TakenRoom(
        str(uuid.uuid4()), host_id(settings), what, cpus=room.cpus, memory_mib=room.memory_mib, disk_mib=room.disk_mib
    )
    private_folder(settings.rooms)
    lock = settings.rooms / row.room_id
    with locks.taken(lock):  # from before it is recorded, so that nobody takes it for left
        try:
            store.rooms.take(row)
            yield
        finally:
            try:
                store.rooms.give_back(row.room_id)
            except StorageFailed as error:  # who cleans up next does it
                log.warning("room of this host could not be given back: %s", error)
            lock.unlink(missing_ok=True)


def give_back_left(settings: Settings, store: Store) -> list[str]:
    """Give back what processes of this host had that were killed; gives for what they had it."""
    own, left = host_id(settings), []
    for row in store.rooms.all():
        if row.host_id != own or locks.is_held(settings.rooms / row.room_id):
            continue
        if store.rooms.give_back(row.room_id):  # else its process did, since it was read
            left.append(row.what)
    for lock in settings.rooms.glob("*"):
        locks.remove_free(lock)
    return left
