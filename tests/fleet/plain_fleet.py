"""Workers as processes of one machine, a PostgreSQL and a shared directory: everything real but the virtual machines.

Each worker reaches the shared directory through a link of its own, so that it can be taken from one of them.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fleet.chaos import prepare
from postgresql import Cluster, cluster

from vmkiln.settings import Settings
from vmkiln.store.database import Store, opened

TESTS = Path(__file__).parents[1]
END_SECONDS = 30


@dataclass
class Worker:
    """A worker. `unfit` is a file: as long as it is there the worker cannot build; `objects` is its link."""

    name: str
    unfit: Path
    objects: Path
    log: Path
    process: "subprocess.Popen[bytes]"


@dataclass
class PlainFleet:
    """What there is; `store` is that of the service, whose database `server` runs."""

    directory: Path
    server: Cluster
    url: str
    store: Store
    workers: list[Worker] = field(default_factory=list)

    def start(self, name: str, **environment: str) -> Worker:
        """Start a worker."""
        unfit, objects, log = (self.directory / f"{name}.{what}" for what in ("unfit", "objects", "log"))
        if not objects.is_symlink():
            objects.symlink_to(self.directory / "shared")
        variables = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)]),
            "VMKILN_DATABASE_URL": self.url,
            "VMKILN_OBJECT_STORE": f"file://{objects}",
            "STUB_CPUS": "4",
            "STUB_UNFIT": str(unfit),
            "STUB_JOURNAL": str(self.directory / "journal"),
            "LEASE_SECONDS": "4",
            "PHASE_SECONDS": "0.1",
            "READY_SECONDS": "0.5",
            **environment,
        }
        command = [sys.executable, "-m", "stub_worker", str(self.directory / name), name]
        with log.open("ab") as written:
            process = subprocess.Popen(command, env=variables, stdout=written, stderr=written)
        worker = Worker(name, unfit, objects, log, process)
        self.workers.append(worker)
        return worker

    def states(self) -> dict[str, str]:
        """The state of each host, by its name."""
        now = self.store.hosts.now()
        return {host.name: host.state_at(now) for host in self.store.hosts.all()}


@contextlib.contextmanager
def plain_fleet(directory: Path) -> Iterator[PlainFleet]:
    """A fleet without workers yet; those that were started end with the block."""
    (directory / "shared").mkdir()
    with cluster() as server:
        url = server.new_database()
        home = directory / "service"
        with opened(url, home=home) as store:
            prepare(Settings(home, database_url=url, object_store=(directory / "shared").as_uri()), store)
            fleet = PlainFleet(directory, server, url, store)
            try:
                yield fleet
            finally:
                _end(fleet)


def _end(fleet: PlainFleet) -> None:
    for worker in fleet.workers:
        with contextlib.suppress(ProcessLookupError):
            worker.process.send_signal(signal.SIGTERM)
    for worker in fleet.workers:
        try:
            worker.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            worker.process.kill()
            worker.process.wait()
