"""The database: what was asked for, what is being done, what came out; in SQLite or PostgreSQL.

Every change is one short transaction, durable when the call returns. Rows come out as frozen values, times are UTC.
The state of a run moves only from an expected state to another, so two processes cannot both end it.
"""

import contextlib
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa

from vmkiln.errors import VmkilnError
from vmkiln.files.durable_file import reported, sync
from vmkiln.sealing.key_ring import keys_beside
from vmkiln.sealing.seal import Seal
from vmkiln.store.audit_table import AuditTable
from vmkiln.store.bounded.quota import Quota
from vmkiln.store.driver.server_clock import ServerClock, asking
from vmkiln.store.engine import Connections, connected, shown_address
from vmkiln.store.gates.verdict_table import VerdictTable
from vmkiln.store.host_table import HostTable
from vmkiln.store.hosts.kept_table import KeptTable
from vmkiln.store.hosts.origin_table import OriginTable
from vmkiln.store.hosts.room_table import RoomTable
from vmkiln.store.hosts.shell_table import ShellTable
from vmkiln.store.image_table import ImageTable
from vmkiln.store.notices.outbox_table import OutboxTable
from vmkiln.store.operation_table import OperationTable, SessionTable
from vmkiln.store.principal_table import PrincipalTable
from vmkiln.store.queue_table import QueueTable
from vmkiln.store.resource_table import DEFAULT_QUOTA, ResourceChanges, ResourceTable
from vmkiln.store.run_table import RunTable
from vmkiln.store.schema import DutyTable, check, confirm_undone, prepare
from vmkiln.store.staging_table import StagingTable
from vmkiln.store.timeline.part_table import TimelineTable
from vmkiln.waiting.patience import Patience, patient


def utc_now() -> datetime:
    """The time now."""
    return datetime.now(UTC)


class Store:
    """The tables of one database; one per process.

    `home` is the state directory. Paths below it are recorded relative to it, so that they hold on every host and after
    a move. `session` tells this process's work from that of others; a new one is made when it is left out. `seal` is
    what secrets in it are sealed with, `quota` what a subscription may keep in it.
    """

    def __init__(
        self,
        connections: Connections,
        *,
        home: Path | None = None,
        session: str = "",
        changes: ResourceChanges | None = None,
        seal: Seal | None = None,
        quota: Quota = DEFAULT_QUOTA,
    ) -> None:
        self.connections = connections
        self.patience = Patience()
        self.seal = seal or Seal(None)
        self._home = home
        self.runs = RunTable(connections)
        self.images = ImageTable(connections, home=home)
        self.staging = StagingTable(connections)
        self.resources = ResourceTable(connections, changes, quota)
        self.sessions = SessionTable(connections, own=session or str(uuid.uuid4()))
        self.operations = OperationTable(connections, session=self.sessions.own)
        self.principals = PrincipalTable(connections, quota)
        self.queue = QueueTable(connections)
        self.hosts = HostTable(connections)
        self.origins = OriginTable(connections)
        self.kept = KeptTable(connections)
        self.rooms = RoomTable(connections)
        self.shells = ShellTable(connections)
        self.audit = AuditTable(connections)
        self.duties = DutyTable(connections)
        self.timelines = TimelineTable(connections)
        self.verdicts = VerdictTable(connections)
        self.outbox = OutboxTable(connections)

    def now(self) -> datetime:
        """The time now (UTC), by the clock this store was opened with."""
        return self.connections.now()

    def fenced(self, run_id: str, *, incarnation: str) -> "Store":
        """The same database for a run's writes: they raise `RunTakenOver` once this host has the run no more.

        Its calls wait while a server is away, as long as `patience` says.
        """
        same = self.connections.fenced(run_id, incarnation=incarnation)
        table = self.resources
        store = Store(
            same,
            home=self._home,
            session=self.sessions.own,
            changes=table.changes,
            seal=self.seal,
            quota=table.quota,
        )
        if self.connections.writing.dialect.name == "postgresql":
            for name in ("runs", "images", "staging", "resources", "hosts", "verdicts"):
                setattr(store, name, patient(getattr(store, name), self.patience))
        return store

    def ping(self) -> None:
        """Read one row. Raises: `VmkilnError` when the database cannot be read."""
        check(self.connections)

    def confirm_undone(self) -> None:
        """Make sure that a commit which failed stays undone. Raises: `StorageFailed` when that cannot be."""
        confirm_undone(self.connections)

    def close(self) -> None:
        """Close every connection; one that a thread still uses is closed when that gives it back."""
        self.connections.close()


@contextlib.contextmanager
def opened(
    address: Path | str,
    *,
    clock: Callable[[], datetime] | None = None,
    home: Path | None = None,
    keys: Path | None = None,
    quota: Quota = DEFAULT_QUOTA,
) -> Iterator[Store]:
    """The database: a file of SQLite, made when it is missing (mode 0600), or the URL of one in PostgreSQL.

    `clock` gives the time in UTC: this machine's, or that of PostgreSQL's server, unless it is given. `home` is the
    state directory (SQLite: where the file is, unless it is given).
    `keys` is the folder of the keys that secrets are sealed with; beside the state directory unless it is given.
    `quota` is what a subscription may keep.
    Raises: `VmkilnError` when it was written by a newer vmkiln, is damaged or away; `InputError` for no URL.
    """
    name = shown_address(address)
    connections = connected(address, clock or (ServerClock() if isinstance(address, str) else utc_now))
    home = home or (address.parent.absolute() if isinstance(address, Path) else None)
    keys = keys or (None if home is None else keys_beside(home))
    store = Store(connections, home=home, seal=Seal(keys), quota=quota)
    try:
        prepare(connections, name)
        if isinstance(address, str):
            with asking(connections.clock) as heard:
                heard(store.hosts.now())
        if isinstance(address, Path):
            with reported(f"opening the database {name}"):
                sync(address.parent)  # its write-ahead log is there now; SQLite itself would overlook that this failed
        yield store
    except sa.exc.DatabaseError as error:
        raise VmkilnError(f"the database {name} cannot be used: {error.orig}") from error
    finally:
        store.close()
