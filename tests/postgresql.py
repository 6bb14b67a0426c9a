"""A real PostgreSQL for tests: a cluster of its own on a unix socket, gone afterwards; a new database for each test.

It is gone also when who made it was killed.
"""

import contextlib
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orphan_guard import when_killed

SETTINGS = ("-c", "fsync=off", "-c", "shared_buffers=16MB")
STOP = '"$@" -D "$0/data" -m immediate -w stop; rm -rf -- "$0"'  # $0: the cluster's folder


@dataclass(frozen=True)
class Cluster:
    """A running server: the folder with its socket, and the words before a command so that its user runs it."""

    directory: Path
    programs: Path
    as_user: tuple[str, ...]
    listen: str = ""
    settings: tuple[str, ...] = ()

    def url(self, database: str) -> str:
        return f"postgresql://vmkiln@/{database}?host={self.directory}"

    def new_database(self) -> str:
        """The URL of a new, empty database."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        self.sql(f"CREATE DATABASE {name}")
        return self.url(name)

    def sql(self, text: str) -> str:
        command = [self.programs / "psql", "-h", self.directory, "-U", "vmkiln", "-d", "postgres", "-Atc", text]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def control(self, *words: str) -> None:
        """pg_ctl: start, stop, restart."""
        log, options = (
            self.directory / "log",
            " ".join((*SETTINGS, *self.settings, "-k", str(self.directory), "-h", f"'{self.listen}'")),
        )
        command = [
            *self.as_user,
            self.programs / "pg_ctl",
            "-D",
            self.directory / "data",
            "-w",
            "-l",
            log,
            "-o",
            options,
        ]
        subprocess.run([*command, *words], check=True, stdout=subprocess.DEVNULL)


def programs() -> Path:
    """Where the server's programs are: Debian keeps them out of PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    assert found, "PostgreSQL is missing: `script/bootstrap --with-tests` installs it"
    return found[-1]


@contextlib.contextmanager
def cluster(*, listen: str = "", network: str = "", settings: tuple[str, ...] = ()) -> Iterator[Cluster]:
    """A server while the block lasts. It refuses to run as root; then Debian's user `postgres` runs it.

    With an address to `listen` on, it also serves TCP, to a `network`. `settings` are more words of its command line.
    """
    directory = Path(tempfile.mkdtemp(prefix="vmkiln-pg-"))  # short: a socket's path has at most 107 bytes
    as_user: tuple[str, ...] = ()
    if os.geteuid() == 0:
        shutil.chown(directory, "postgres")
        directory.chmod(0o755)
        as_user = ("setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups", "--")
    made = Cluster(directory, programs(), as_user, listen, settings)
    try:
        init = [*as_user, made.programs / "initdb", "-D", directory / "data", "-U", "vmkiln", "-A", "trust", "-N"]
        subprocess.run(init, check=True, stdout=subprocess.DEVNULL)
        if network:
            with (directory / "data" / "pg_hba.conf").open("a") as rules:
                rules.write(f"host all all {network} trust\n")
        with when_killed("sh", "-c", STOP, directory, *as_user, made.programs / "pg_ctl"):
            made.control("start")
            try:
                yield made
            finally:
                made.control("-m", "immediate", "stop")
    finally:
        with contextlib.suppress(FileNotFoundError):  # the guard took it away when an error ended the block
            shutil.rmtree(directory)
