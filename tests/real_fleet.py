"""A fleet that builds for real: a service that only serves, and workers as processes of their own."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from in_process import GROUP, InProcess, TestAccess, add_group, started
from loop_thread import in_a_thread
from postgresql import cluster

from vmkiln.fleet.host_identity import HostIdentity
from vmkiln.fleet.image_builder import ImageBuilder
from vmkiln.run.run_context import RunRequest, Tell
from vmkiln.settings import Settings
from vmkiln.sharing.shared_storage import shared_storage
from vmkiln.store.database import opened

VMKILN = [sys.executable, "-m", "vmkiln"]
LEASE_SECONDS = 15


async def never(_request: RunRequest, _tell: Tell) -> object:
    """A service without builds builds nothing."""
    raise AssertionError("the service was given a run")


@dataclass(frozen=True)
class RealFleet:
    """The service, its workers by name, and the settings that they share with it; `start` starts one once more."""

    service: InProcess
    workers: Mapping[str, "subprocess.Popen[bytes]"]
    settings: Settings
    start: Callable[[str], "subprocess.Popen[bytes]"]


@contextlib.contextmanager
def real_fleet(
    directory: Path, homes: Mapping[str, Path], *, environment: Mapping[str, str] | None = None
) -> Iterator[RealFleet]:
    """A service in this process, and a worker for each of `homes`; those that still live at the end do so in order."""
    (directory / "shared").mkdir()
    with cluster() as server:
        url, objects = server.new_database(), (directory / "shared").as_uri()
        settings = Settings(directory / "service", database_url=url, object_store=objects)
        with opened(url, home=settings.home) as store:
            shared = shared_storage(settings, store)
            identity = HostIdentity(name="serves", takes_runs=False)
            builder = ImageBuilder(settings, store, never, identity=identity, shared=shared)

            async def serve(is_ready: Callable[[], None]) -> None:
                asyncio.get_running_loop().call_soon(is_ready)
                assert shared is not None
                await asyncio.gather(builder.serve(), shared.follow())

            more = {"VMKILN_DATABASE_URL": url, "VMKILN_OBJECT_STORE": objects}
            whole = {**os.environ, **(environment or {}), **more}
            with in_a_thread(serve, seconds=120), contextlib.ExitStack() as stack:

                def start(name: str) -> "subprocess.Popen[bytes]":
                    return stack.enter_context(_worker(name, homes[name], whole))

                workers = {name: start(name) for name in homes}
                access = TestAccess({"owner": [("Owner", GROUP.rpartition("/resourceGroups")[0])]})
                service = started(store, settings.home, access, builder, shared=shared)
                add_group(service)
                yield RealFleet(service, workers, settings, start)


@contextlib.contextmanager
def _worker(name: str, home: Path, environment: Mapping[str, str]) -> Iterator["subprocess.Popen[bytes]"]:
    options = ["--data", str(home), "--name", name, "--lease-seconds", str(LEASE_SECONDS)]
    with subprocess.Popen([*VMKILN, "worker", *options], env=dict(environment)) as worker:
        yield worker
        if worker.poll() is None:
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(60) == 0, f"{name} did not end in order"
