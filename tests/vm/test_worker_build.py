"""A service that only serves, and `vmkiln worker` as a process of its own beside it, building for real.

On every other day; workers build every day with stand-ins for the VMs (`tests/fleet`).
"""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from in_process import GROUP, TEMPLATE, InProcess, TestAccess, a_template, add_group, provisioned, started, wait_for
from loop_thread import in_a_thread
from postgresql import cluster
from turns import ON_ODD_DAYS

from vmkiln.fleet.host_identity import HostIdentity
from vmkiln.fleet.image_builder import ImageBuilder
from vmkiln.images.image_store import sha256_of
from vmkiln.run.run_context import RunRequest, Tell
from vmkiln.settings import Settings
from vmkiln.sharing.shared_storage import shared_storage
from vmkiln.store.database import opened

pytestmark = pytest.mark.vm
VMKILN = [sys.executable, "-m", "vmkiln"]
BUILD_SECONDS = 900
GATE = {"VMKILN_ALLOWED_RESIDUES": ""}  # the other one, a cold boot of the result, is tried in `test_build.py`


async def never(_request: RunRequest, _tell: Tell) -> object:
    """A service without builds builds nothing."""
    raise AssertionError("the service was given a run")


@pytest.fixture
def fleet(prepared: Settings, world: None, tmp_path: Path) -> Iterator[InProcess]:
    """The service, with a worker at work."""
    (tmp_path / "shared").mkdir()
    with cluster() as server:
        url, objects = server.new_database(), (tmp_path / "shared").as_uri()
        settings = Settings(tmp_path / "service", database_url=url, object_store=objects)
        with opened(url, home=settings.home) as store:
            shared = shared_storage(settings, store)
            identity = HostIdentity(name="serves", takes_runs=False)
            builder = ImageBuilder(settings, store, never, identity=identity, shared=shared)

            async def serve(is_ready: Callable[[], None]) -> None:
                asyncio.get_running_loop().call_soon(is_ready)
                assert shared is not None
                await asyncio.gather(builder.serve(), shared.follow())

            environment = {**os.environ, **GATE, "VMKILN_DATABASE_URL": url, "VMKILN_OBJECT_STORE": objects}
            command = [*VMKILN, "worker", "--data", str(prepared.home), "--name", "kiln"]
            with in_a_thread(serve, seconds=120), subprocess.Popen(command, env=environment) as worker:
                access = TestAccess({"owner": [("Owner", GROUP.rpartition("/resourceGroups")[0])]})
                service = started(store, settings.home, access, builder, shared=shared)
                add_group(service)
                yield service
                worker.send_signal(signal.SIGTERM)
                assert worker.wait(60) == 0


@ON_ODD_DAYS
def test_a_worker_builds_what_the_service_accepted(fleet: InProcess) -> None:
    provisioned(fleet, TEMPLATE, a_template("echo built by a worker | tee /tmp/said"))
    assert fleet.request("POST", f"{TEMPLATE}/run").status_code == 202
    store = fleet.service.store

    def log() -> list[str]:
        runs = fleet.get(f"{TEMPLATE}/providers/Vmkiln.Builds/runs").json()["value"]
        lines: list[str] = fleet.get(f"{TEMPLATE}/providers/Vmkiln.Builds/runs/{runs[0]['name']}/log").json()["lines"]
        return lines

    wait_for(lambda: any("built by a worker" in line for line in log()), seconds=BUILD_SECONDS)
    [run] = store.runs.of_template(TEMPLATE)
    assert run.ended is None, "its log is followed while it goes on, on the other host"

    def ended() -> dict[str, Any] | None:
        found = store.runs.find(run.run_id)
        return None if found.ended is None else {"state": found.state, "message": found.message}

    assert wait_for(ended, seconds=BUILD_SECONDS) == {"state": "Succeeded", "message": ""}
    facts = store.runs.find(run.run_id).facts
    assert facts["hygiene"]["verdict"] == "Clean", facts["hygiene"]
    [host] = store.hosts.live()
    assert (host.name, host.isolation_level) == ("kiln", store.runs.find(run.run_id).facts["isolation_level"])
    [image] = store.images.of_run(run.run_id)
    assert not image.path.exists(), "it is on the worker, and in the store that all share"
    assert fleet.service.shared is not None
    fetched = fleet.service.shared.images.fetch(image)
    assert sha256_of(fetched.path) == image.digest
    assert fleet.request("DELETE", image.artifact_id, api_version="2024-07-01").status_code in {200, 202}
    assert fleet.request("DELETE", TEMPLATE).status_code == 202
    wait_for(lambda: fleet.get(TEMPLATE).status_code == 404)
