"""The room that is taken of hosts beside runs: for what is booted to be saved, say, before any run needs it."""

from dataclasses import dataclass

import sqlalchemy as sa

from vmkiln.store.engine import Connections
from vmkiln.store.tables import taken_rooms

ALL = sa.select(taken_rooms)


@dataclass(frozen=True)
class TakenRoom:
    """What of a host's CPUs, memory and disk (MiB) is taken, by whom (`host_id`) and for what, in words."""

    room_id: str
    host_id: str
    what: str
    cpus: int
    memory_mib: int
    disk_mib: int


class RoomTable:
    """Queries and changes."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def take(self, room: TakenRoom) -> None:
        """Record it; placement counts it from then on."""
        with self._connections.begin() as connection:
            connection.execute(taken_rooms.insert().values(**vars(room)))

    def give_back(self, room_id: str) -> bool:
        """Forget it; false when there is nothing of it any more."""
        return self._connections.change(taken_rooms.delete().where(taken_rooms.c.room_id == room_id)) == 1

    def all(self) -> list[TakenRoom]:
        """All of it, of all hosts."""
        return [TakenRoom(**row) for row in self._connections.rows(ALL)]
