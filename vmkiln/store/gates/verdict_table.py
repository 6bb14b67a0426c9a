"""What gates said of disks, by the digest of the disk: the same bytes are not asked about again.

Only what passed is kept. What was asked for least lately goes first.
"""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from vmkiln.store.engine import Connections
from vmkiln.store.row_reading import aware
from vmkiln.store.tables import gate_verdicts

MOST_VERDICTS = 10_000


@dataclass(frozen=True)
class VerdictRow:
    """A disk passed a gate: in which run, when (UTC), and how many seconds that took.

    `digest` is the SHA-256 in hexadecimal of all that the disk is made of.
    """

    gate: str
    digest: str
    run_id: str
    seconds: float
    made: datetime


class VerdictTable:
    """Queries and changes."""

    def __init__(self, connections: Connections, *, most: int = MOST_VERDICTS) -> None:
        self._connections = connections
        self._most = most

    def known(self, gate: str, digest: str) -> VerdictRow | None:
        """What a gate said of these bytes before; none when it was never asked, or it is long ago."""
        table = gate_verdicts.c
        same = sa.and_(table.gate == gate, table.digest == digest)
        for row in self._connections.rows(sa.select(gate_verdicts).where(same)):
            with self._connections.begin() as connection:
                connection.execute(gate_verdicts.update().where(same).values(used=self._connections.now()))
            return VerdictRow(row["gate"], row["digest"], row["run_id"], row["seconds"], aware(row["made"]))
        return None

    def keep(self, verdict: VerdictRow) -> None:
        """Keep that a disk passed, in the place of what was known of the same bytes."""
        table = gate_verdicts.c
        same = sa.and_(table.gate == verdict.gate, table.digest == verdict.digest)
        newest = sa.select(table.used).order_by(table.used.desc()).offset(self._most).limit(1).scalar_subquery()
        with self._connections.begin() as connection:
            connection.execute(gate_verdicts.delete().where(same))
            connection.execute(gate_verdicts.insert().values(**vars(verdict), used=self._connections.now()))
            connection.execute(gate_verdicts.delete().where(table.used <= newest))
