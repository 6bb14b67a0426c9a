"""A real pgbouncer, Debian's: in session mode all works, in transaction mode it is refused when we connect."""

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from in_process import wait_for
from postgresql import Cluster, cluster

from vmkiln.errors import InputError
from vmkiln.store.database import opened
from vmkiln.store.rows import HostRow, RunRow

PROGRAM = "/usr/sbin/pgbouncer"
PORT = 6432  # only the name of a socket: it listens on no address
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@contextlib.contextmanager
def pooler(server: Cluster, *, mode: str, more: str = "") -> Iterator[str]:
    """The URL of a new database, through a pooler."""
    database = server.new_database().split("/")[3].partition("?")[0]
    with tempfile.TemporaryDirectory(prefix="vmkiln-pb-") as folder:  # short: a socket's path has at most 107 bytes
        Path(folder, "users").write_text('"vmkiln" ""\n')
        Path(folder, "pgbouncer.ini").write_text(
            f"[databases]\n* = host={server.directory}\n[pgbouncer]\nlisten_addr =\nlisten_port = {PORT}\n"
            f"unix_socket_dir = {folder}\nauth_type = trust\nauth_file = {folder}/users\npool_mode = {mode}\n{more}\n"
        )
        process = subprocess.Popen([PROGRAM, "-q", f"{folder}/pgbouncer.ini"], stderr=subprocess.DEVNULL)
        try:
            wait_for(Path(folder, f".s.PGSQL.{PORT}").exists, seconds=20)
            yield f"postgresql://vmkiln@/{database}?host={folder}&port={PORT}"
        finally:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    with cluster() as found:
        yield found


def test_a_pooler_in_session_mode_works(server: Cluster, tmp_path: Path) -> None:
    with pooler(server, mode="session") as url, opened(url, home=tmp_path) as store:
        store.runs.add(RunRow("r1", "web", "rg", {}, "Queued", "", "", "", "", {}, NOW, None))
        store.hosts.register(HostRow("life", "id", "kiln", "x64", "", "", 1, 1, 1), lease_seconds=60)
        for _ in range(20):  # what is asked often is prepared by the driver
            assert store.runs.find("r1").started == NOW
            assert store.hosts.renew("life", lease_seconds=60)
        with store.connections.begin() as connection:
            shown = connection.exec_driver_sql("SHOW idle_in_transaction_session_timeout").scalar_one()
        assert shown == "10s"


@pytest.mark.parametrize("more", ["", "ignore_startup_parameters = options"])
def test_a_pooler_in_transaction_mode_is_refused_at_the_start(server: Cluster, tmp_path: Path, more: str) -> None:
    with (
        pooler(server, mode="transaction", more=more) as url,
        pytest.raises(InputError, match="another session") as refused,
        opened(url, home=tmp_path),
    ):
        pass
    assert "pool_mode=session" in str(refused.value.hint)
