"""A worker whose database is away ends when it is told to, all the same."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from fleet.chaos import fill, prepare
from in_process import wait_for
from postgresql import cluster

from vmkiln.settings import Settings
from vmkiln.store.database import opened

TESTS = Path(__file__).parents[1]
END_SECONDS = 60


def test_a_worker_ends_though_its_database_is_away(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    objects = (tmp_path / "shared").as_uri()
    with cluster() as server:
        url = server.new_database()
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)]),
            "VMKILN_DATABASE_URL": url,
            "VMKILN_OBJECT_STORE": objects,
            "STUB_CPUS": "4",
            "STUB_JOURNAL": str(tmp_path / "journal"),
            "LEASE_SECONDS": "600",
            "PHASE_SECONDS": "60",
        }
        with opened(url, home=tmp_path / "service") as store:
            prepare(Settings(tmp_path / "service", database_url=url, object_store=objects), store)
            fill(store, range(2))
            command = [sys.executable, "-m", "stub_worker", str(tmp_path / "worker"), "kiln"]
            worker = subprocess.Popen(command, env=environment)
            try:
                wait_for((tmp_path / "journal").exists, seconds=60)
                server.control("-m", "immediate", "stop")
                begin = time.monotonic()
                worker.send_signal(signal.SIGTERM)
                assert worker.wait(END_SECONDS) == 0
            finally:
                worker.kill()
                worker.wait()
                server.control("start")
            assert time.monotonic() - begin < END_SECONDS
            assert len(store.hosts.orphans()) + len(store.hosts.placed()) > 0, "what it had is there for others"
