"""Which source images, and checkpoints of which templates, each host keeps, as it told last.

What a dead incarnation told is forgotten with the next one's word.
"""

from collections.abc import Mapping

import sqlalchemy as sa

from vmkiln.store.engine import Connections
from vmkiln.store.tables import hosts, kept_sources

OF_NAMES = sa.select(kept_sources.c.boot, kept_sources.c.source, kept_sources.c.is_booted).where(
    kept_sources.c.source.in_(sa.bindparam("names", expanding=True))
)


class KeptTable:
    """Queries and changes. A source is named as `fleet/placement/kept_sources.py` does."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def record(self, incarnation: str, kept: Mapping[str, bool]) -> None:
        """Record what a host keeps now, in place of what it told before: by source, whether a booted VM of it too."""
        with self._connections.begin() as connection:
            alive = sa.select(hosts.c.incarnation).where(hosts.c.is_dead.is_(False))
            old = sa.or_(kept_sources.c.boot == incarnation, kept_sources.c.boot.not_in(alive))
            connection.execute(kept_sources.delete().where(old))
            if kept:
                rows = [{"boot": incarnation, "source": name, "is_booted": booted} for name, booted in kept.items()]
                connection.execute(kept_sources.insert(), rows)

    def hosts_of(self, *names: str) -> dict[str, dict[str, bool]]:
        """By name the incarnations that keep it, each with whether it keeps a booted VM of it too; one statement."""
        found: dict[str, dict[str, bool]] = {name: {} for name in names}
        for row in self._connections.rows(OF_NAMES, {"names": list(names)}):
            found[row["source"]][row["boot"]] = row["is_booted"]
        return found
