"""Who is connected: so many in all and from each address, and when there is no room, who has waited longest makes some.

A connection is busy from the end of a request's head to the end of its answer. One that is not (its TLS is not set up,
its request has not come, or the last was answered) costs its client nothing, so it is worth little here: it is closed
when a newer one needs its place. So whoever opens thousands loses their own, and others get in. Pure but for calling
what closes one.
"""

from collections import Counter
from collections.abc import Callable


class Connection:
    """One connection, from its being taken to its end; `close` is set by whoever goes on with it."""

    def __init__(self, door: "Connections", address: str) -> None:
        self._door = door
        self.address = address
        self.close: Callable[[], object] = lambda: None

    def becomes_busy(self) -> None:
        """A request begins to be answered."""
        self._door.take_up(self)

    def waits(self) -> None:
        """There is nothing to do for it now."""
        self._door.put_off(self)

    def leaves(self) -> None:
        """It ended."""
        self._door.let_go(self)


class Connections:
    """All connections of a service."""

    def __init__(self, most: int, most_of_an_address: int) -> None:
        self._most = most
        self._most_of_an_address = most_of_an_address
        self._counts: Counter[str] = Counter()
        self._waiting: dict[str, dict[Connection, None]] = {}  # of each address, who waits longest first
        self._all: set[Connection] = set()
        self.closed_for_others = 0
        self.refused = 0

    def __len__(self) -> int:
        return len(self._all)

    def enter(self, address: str) -> Connection | None:
        """A place for a connection from there, which waits; None when all places are of busy ones."""
        if self._counts[address] >= self._most_of_an_address:
            has_room = self._make_room(address)
        else:
            has_room = len(self._all) < self._most or self.make_room()
        if not has_room:
            self.refused += 1
            return None
        found = Connection(self, address)
        self._all.add(found)
        self._counts[address] += 1
        self.put_off(found)
        return found

    def make_room(self) -> bool:
        """Close who waits longest of the address of which most wait; false when nobody waits."""
        crowd = max(self._waiting, key=lambda address: len(self._waiting[address]), default=None)
        return crowd is not None and self._make_room(crowd)

    def _make_room(self, address: str) -> bool:
        oldest = next(iter(self._waiting.get(address, ())), None)
        if oldest is None:
            return False
        self.let_go(oldest)
        self.closed_for_others += 1
        oldest.close()
        return True

    def put_off(self, connection: Connection) -> None:
        """It waits, from now on."""
        if connection in self._all:
            self._waiting.setdefault(connection.address, {})[connection] = None

    def take_up(self, connection: Connection) -> None:
        """It does not wait any more."""
        here = self._waiting.get(connection.address, {})
        here.pop(connection, None)
        if not here:
            self._waiting.pop(connection.address, None)

    def let_go(self, connection: Connection) -> None:
        """It is gone; told again, nothing happens."""
        self.take_up(connection)
        if connection in self._all:
            self._all.discard(connection)
            self._counts[connection.address] -= 1
            if not self._counts[connection.address]:
                del self._counts[connection.address]
