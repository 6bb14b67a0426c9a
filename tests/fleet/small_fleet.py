"""A fleet on one machine: three build hosts in network namespaces of their own, a PostgreSQL, a shared directory.

To be used inside `unshare --user --map-current-user --keep-caps --net --mount`, where this user may make namespaces.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from postgresql import Cluster, cluster

TESTS = Path(__file__).parents[1]
NETWORK = "10.77.0"
CPUS = 4  # room for two runs
LEASE_SECONDS = 3.0
PHASE_SECONDS = 0.4
DATABASE_WAS_AWAY = "1: its database went away while it started"
LOG_TAIL_BYTES = 64 * 1024


def run(*arguments: str) -> None:
    subprocess.run(arguments, check=True)


@dataclass
class BuildHost:
    """A worker in its own namespace; it is started again when it ends, as systemd would."""

    name: str
    home: Path
    environment: dict[str, str]
    process: "subprocess.Popen[bytes]" = field(init=False)
    ends: list[str] = field(default_factory=list)

    def start(self) -> None:
        command = ["ip", "netns", "exec", self.name, sys.executable, "-m", "stub_worker", str(self.home), self.name]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log)

    def again_if_ended(self) -> bool:
        """Start it again when it has ended; says whether it had."""
        status = self.process.poll()
        if status is None:
            return False
        is_away = status == 1 and "DatabaseAway: " in self._last_start()
        self.ends.append(DATABASE_WAS_AWAY if is_away else str(status))
        self.start()
        return True

    @property
    def _log(self) -> Path:
        return self.home.parent / f"{self.name}.log"

    def _last_start(self) -> str:
        """What it said of its own end, when that came before it was at work."""
        said = self._log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace")
        return said.rpartition("Traceback (most recent call last):")[2]

    def send(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)

    def cut_off(self, is_off: bool) -> None:
        """Take its network cable away, or put it back."""
        run("ip", "link", "set", f"to-{self.name}", "down" if is_off else "up")


@dataclass
class Fleet:
    """What there is; `url` is the database as every host reaches it, `journal` what the builds wrote."""

    directory: Path
    server: Cluster
    url: str
    hosts: list[BuildHost]
    journal: Path


@contextlib.contextmanager
def small_fleet(directory: Path, *, hosts: int = 3) -> Iterator[Fleet]:
    """Such a fleet, while the block lasts."""
    run("mount", "-t", "tmpfs", "fleet", "/run")
    run("ip", "link", "set", "lo", "up")
    run("ip", "link", "add", "fleet", "type", "bridge")
    run("ip", "address", "add", f"{NETWORK}.1/24", "dev", "fleet")
    run("ip", "link", "set", "fleet", "up")
    with cluster(listen=f"{NETWORK}.1", network=f"{NETWORK}.0/24") as server:
        database = server.new_database().split("/")[3].partition("?")[0]
        url = f"postgresql://vmkiln@{NETWORK}.1:5432/{database}?connect_timeout=2&tcp_user_timeout=2000"
        made = Fleet(directory, server, url, [], directory / "journal")
        (directory / "shared").mkdir()
        try:
            for number in range(hosts):
                made.hosts.append(_host(made, number))
                made.hosts[-1].start()
            yield made
        finally:
            for host in made.hosts:
                host.send(signal.SIGCONT)
                host.send(signal.SIGTERM)
            for host in made.hosts:
                try:
                    host.process.wait(30)
                except subprocess.TimeoutExpired:
                    host.process.kill()
                    host.process.wait()


def _host(fleet: Fleet, number: int) -> BuildHost:
    name = f"kiln{number}"
    run("ip", "netns", "add", name)
    run("ip", "link", "add", f"to-{name}", "type", "veth", "peer", "name", "eth0", "netns", name)
    run("ip", "link", "set", f"to-{name}", "master", "fleet", "up")
    run("ip", "-n", name, "address", "add", f"{NETWORK}.{10 + number}/24", "dev", "eth0")
    run("ip", "-n", name, "link", "set", "eth0", "up")
    run("ip", "-n", name, "link", "set", "lo", "up")
    environment = {
        **os.environ,
        "PYTHONPATH": f"{TESTS}:{TESTS.parent}",
        "VMKILN_DATABASE_URL": fleet.url,
        "VMKILN_OBJECT_STORE": (fleet.directory / "shared").as_uri(),
        "STUB_CPUS": str(CPUS),
        "STUB_JOURNAL": str(fleet.journal),
        "LEASE_SECONDS": str(LEASE_SECONDS),
        "PHASE_SECONDS": str(PHASE_SECONDS),
    }
    return BuildHost(name, fleet.directory / name, environment)
