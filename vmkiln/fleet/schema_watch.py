"""A host looks whether a newer release brought the database further, and takes nothing new from then on.

What it has goes on: a release only adds to the tables of the one before it (docs/decisions/0055).
"""

import logging

from vmkiln.store.database import Store
from vmkiln.waiting.off_loop import in_round

log = logging.getLogger(__name__)


class SchemaWatch:
    """What one host (its `incarnation`) has seen of the database's schema."""

    def __init__(self, store: Store, incarnation: str) -> None:
        self._store = store
        self._incarnation = incarnation
        self._seen = ""

    async def look(self) -> None:
        """Drain this host when the schema is newer than what it knows; told once."""
        found = await in_round(self._store.origins.drain_behind, self._incarnation)
        if found and found != self._seen:
            text = (
                "a newer vmkiln brought the database to schema %s: this host takes nothing new; upgrade and restart it"
            )
            log.warning(text, found)
        self._seen = found
