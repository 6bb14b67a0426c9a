"""The shells that hosts are asked for: each is there until its host takes it, or its visitor has gone.

What nobody took in time is deleted by whoever asks next, and by the host itself.
"""

from collections.abc import Sequence

import sqlalchemy as sa

from vmkiln.store.driver.database_time import database_clock
from vmkiln.store.engine import Connections
from vmkiln.store.tables import asked_shells as table

OF_HOST = (
    sa.select(table.c.shell_id, table.c.sealed_order, (table.c.until > database_clock()).label("is_awaited"))
    .where(table.c.host_id == sa.bindparam("host"))
    .order_by(table.c.until)
)


class ShellTable:
    """Queries and changes. What lies in it is sealed (`shells/order.py`)."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def ask(self, shell_id: str, host_id: str, sealed_order: str, *, seconds: float) -> None:
        """Ask a host, which has so long to take it."""
        values = {"shell_id": shell_id, "host_id": host_id, "sealed_order": sealed_order}
        with self._connections.begin() as connection:
            connection.execute(table.delete().where(table.c.until <= database_clock()))
            connection.execute(table.insert().values(**values, until=database_clock() + seconds))

    def take(self, host_id: str, *, most: int) -> Sequence[tuple[str, str]]:
        """What a host is asked for, its own from now on: ids and sealed orders, the oldest first."""
        taken: list[tuple[str, str]] = []
        for row in self._connections.rows(OF_HOST, {"host": host_id}):
            if len(taken) == most:
                break
            if self._connections.change(table.delete().where(table.c.shell_id == row["shell_id"])) == 1:
                taken += [(row["shell_id"], row["sealed_order"])] if row["is_awaited"] else []
        return taken

    def withdraw(self, shell_id: str) -> None:
        """Nobody waits for it any more."""
        self._connections.change(table.delete().where(table.c.shell_id == shell_id))
