"""Many lives of image templates, a third of them troubled, in a process of their own.

    python -m faults.soak HOME

Prints as JSON how the runs ended and what the process held after the first lives and after all of them. The troubles
follow from a seed. Everything is real but the virtual machines.
"""

import asyncio
import ctypes
import gc
import json
import logging
import os
import random
import sqlite3
import sys
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import stub_build
import tiers
from empty_world import differences, first_snapshot, snapshot
from in_process import BASE, GROUP, SUBSCRIPTION, TestAccess, a_template, an_issuer
from open_files import descriptors

from vmkiln import service as vmkiln_service
from vmkiln.fleet import hosting
from vmkiln.fleet.durable_attempts import THREADS
from vmkiln.host.heap import keep_in_one_arena
from vmkiln.run.room import Room
from vmkiln.run.run_context import RunRequest, Tell
from vmkiln.settings import Settings
from vmkiln.store.database import Store, opened
from vmkiln.store.rows import ResourceRow
from vmkiln.template.customizers.shell import ShellCustomizer
from vmkiln.template.image_template import ImageTemplate
from vmkiln.waiting import off_loop

LIVES, WARM_UP, AT_ONCE = tiers.tier().lives, tiers.tier().warm_up_lives, 16
ROOM = Room(16, 1024**2, 1024**3)  # eight runs at once; the others wait
LOOK_SECONDS = 0.3
PATIENCE_SECONDS = 60
GALLERY = f"{GROUP}/providers/Microsoft.Compute/galleries/g"
SAME_VERSION = {
    "type": "SharedImage",
    "runOutputName": "out",
    "galleryImageId": f"{GALLERY}/images/d/versions/1.0.0",
    "replicationRegions": ["westus2"],
}
LEDGER = """
CREATE TABLE ended (run_id TEXT, state TEXT);
CREATE TABLE changed_after_its_end (run_id TEXT, state TEXT);
CREATE TRIGGER ends AFTER UPDATE OF ended ON vmkiln_run WHEN OLD.ended IS NULL AND NEW.ended IS NOT NULL
BEGIN INSERT INTO ended VALUES (NEW.run_id, NEW.state); END;
CREATE TRIGGER changes AFTER UPDATE OF state, ended ON vmkiln_run WHEN OLD.ended IS NOT NULL
BEGIN INSERT INTO changed_after_its_end VALUES (NEW.run_id, NEW.state); END;
"""
POOLS = (off_loop.NAME, off_loop.ROUNDS, off_loop.RUN_LOGS, off_loop.LOGINS)


@dataclass(frozen=True)
class Trouble:
    """What a template's commands are, what is done while its run goes on, and how that may end."""

    commands: tuple[str, ...]
    outcomes: tuple[str, ...]
    is_cancelled: bool = False
    is_deleted: bool = False
    is_contended: bool = False
    target: dict[str, Any] | None = None


NO_TROUBLE = Trouble(("true",), ("Succeeded",))
TROUBLES = {
    "a customizer fails": Trouble(("fail",), ("Failed PackerBuildFailed",)),
    "cancelled while it goes on": Trouble(("wait",), ("Canceled Canceled",), is_cancelled=True),
    "cancelled at any moment": Trouble(("true",), ("Canceled Canceled", "Succeeded"), is_cancelled=True),
    "a build raises": Trouble(("crash",), ("Failed InternalError",)),
    "a build never begins": Trouble(("never",), ("Failed InternalError",)),
    "publishing conflicts": Trouble(("publish",), ("Succeeded", "Failed DistributionFailed"), target=SAME_VERSION),
    "the database is busy": Trouble(("true",), ("Succeeded",), is_contended=True),
    "it takes too long": Trouble(("too long", "wait"), ("Failed BuildTimeout",)),
    "a flood in the log": Trouble(("flood",), ("Succeeded",)),
    "deleted while it goes on": Trouble(("wait",), ("Canceled Canceled",), is_cancelled=True, is_deleted=True),
}


def commands_of(template: ImageTemplate) -> list[str]:
    steps = template.properties.customize
    return [line for step in steps if isinstance(step, ShellCustomizer) for line in step.inline]


@dataclass
class Soak:
    """The service, asked in this process, and what became of the runs."""

    web: httpx.AsyncClient
    store: Store
    database: Path
    chosen: random.Random = field(default_factory=lambda: random.Random(tiers.seed()))  # noqa: S311 (no secret)
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)

    async def ask(self, method: str, path: str, body: Any = None) -> httpx.Response:
        return await self.web.request(method, path, json=body, params={"api-version": "2024-02-01"})

    async def until(self, condition: Callable[[], Any]) -> Any:
        """The first true value of `condition`."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not (found := condition()):  # noqa: ASYNC110
                await asyncio.sleep(LOOK_SECONDS)
            return found

    async def life(self, number: int) -> None:
        """A template is made, run and deleted."""
        name = self.chosen.choice(list(TROUBLES)) if self.chosen.random() < 1 / 3 else ""
        trouble = TROUBLES.get(name, NO_TROUBLE)
        moment = self.chosen.uniform(0, 0.1)
        path = f"{GROUP}/providers/Microsoft.VirtualMachineImages/imageTemplates/t{number}"
        image = f"{GROUP}/providers/Microsoft.Compute/images/t{number}"
        target = {"type": "ManagedImage", "runOutputName": "out", "imageId": image, "location": "westus2"}
        body = a_template(*trouble.commands, distribute=[trouble.target or target])
        assert (await self.ask("PUT", path, body)).status_code == 201
        await self.until(lambda: self.provisioning_state(path) == "Succeeded")
        answer = await self.ask("POST", f"{path}/run")
        if trouble.target is not None and answer.status_code == 409:  # another life has published this version
            await self.anew(path, a_template("true", distribute=[target]))
            answer = await self.ask("POST", f"{path}/run")
        assert answer.status_code == 202, answer.text
        if trouble.is_contended:
            await asyncio.to_thread(hold_the_write_lock, self.database, moment)
        if trouble.is_deleted:
            refused = await self.ask("DELETE", path)
            assert (refused.status_code, refused.json()["error"]["code"]) == (409, "OperationNotAllowed")
        if trouble.is_cancelled:
            await asyncio.sleep(moment)
            asked = await self.ask("POST", f"{path}/cancel")
            assert asked.status_code == 204 or "wait" not in trouble.commands, asked.text
        [run] = self.store.runs.of_template(path.lower())
        run = await self.until(lambda: (found := self.store.runs.find(run.run_id)).ended and found)
        outcome = f"{run.state} {run.error_code}".strip()
        assert outcome in trouble.outcomes, f"{number} {name}: {outcome} {run.message}"
        self.outcomes[name, outcome] += 1
        assert (await self.ask("DELETE", path)).status_code == 202
        await self.until(lambda: self.store.resources.get(path) is None)

    async def anew(self, path: str, body: dict[str, Any]) -> None:
        """The template is made again, with another body."""
        assert (await self.ask("DELETE", path)).status_code == 202
        await self.until(lambda: self.store.resources.get(path) is None)
        assert (await self.ask("PUT", path, body)).status_code == 201
        await self.until(lambda: self.provisioning_state(path) == "Succeeded")

    def provisioning_state(self, path: str) -> str:
        row = self.store.resources.get(path)
        assert row is not None
        return str(row.properties["provisioningState"])

    async def lives(self, numbers: range) -> None:
        """Many lives, some at once."""
        waiting = iter(numbers)

        async def one_after_the_other() -> None:
            for number in waiting:
                await self.life(number)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(AT_ONCE):
                tasks.create_task(one_after_the_other())


def hold_the_write_lock(database: Path, seconds: float) -> None:
    """What another process does that writes for long."""
    other = sqlite3.connect(database, isolation_level=None, timeout=PATIENCE_SECONDS)
    other.execute("BEGIN IMMEDIATE")
    threading.Event().wait(seconds)
    other.execute("COMMIT")
    other.close()


def threads_of_their_own() -> Counter[str]:
    """Threads by name; none of the pools that answer requests, do what blocks and wait for builds, which grow."""
    names = [thread.name for thread in threading.enumerate()]
    return Counter(name for name in names if not name.startswith(("asyncio_", "AnyIO worker thread", THREADS)))


def held(settings: Settings) -> dict[str, Any]:
    """What the process holds once the garbage is gone: open files, threads, memory in bytes and blocks of Python's.

    Free memory is given back first (malloc_trim(3)), for how much of it the heap keeps is chance.
    """
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return {
        "descriptors": descriptors(but=settings.database),
        "threads": threads_of_their_own(),
        "python_blocks": sys.getallocatedblocks(),
        "resident_bytes": int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"),
    }


def hurry() -> None:
    """A service that does not rest, on a machine of some size; nobody keeps what it logs."""
    logging.disable(logging.CRITICAL)

    def seconds(template: ImageTemplate) -> float:
        return 0.05 if "too long" in commands_of(template) else PATIENCE_SECONDS

    ImageTemplate.build_timeout_seconds = property(seconds)  # type: ignore[assignment, method-assign]
    stub_build.PHASE_SECONDS = 0
    vmkiln_service.host_capacity = lambda _settings: ROOM
    hosting.JANITOR_SECONDS = 0.5


def make_gallery(store: Store) -> None:
    kinds = {
        GROUP: "Microsoft.Resources/resourceGroups",
        GALLERY: "Microsoft.Compute/galleries",
        f"{GALLERY}/images/d": "Microsoft.Compute/galleries/images",
    }
    for key, kind in kinds.items():
        where = {"subscription_id": SUBSCRIPTION, "resource_group": "rg1", "location": "westus2"}
        properties = {"provisioningState": "Succeeded"}
        store.resources.put(ResourceRow(id=key, type=kind, name=key.rpartition("/")[2], properties=properties, **where))
    store.images.define(f"{GALLERY}/images/d", os_type="Linux", generation=1)


async def soaked(settings: Settings, store: Store) -> tuple[Counter[tuple[str, str]], dict[str, Any]]:
    """Let the service live through it; returns how runs ended, and what it held after the first lives and after all."""
    real = stub_build.stub_build(settings, store)

    async def build(request: RunRequest, tell: Tell) -> object:
        if "never" in commands_of(request.template):
            raise RuntimeError("it never began")
        return await real(request, tell)

    access = TestAccess({"owner": [("Owner", "/")]})
    access.keep(store)
    async with vmkiln_service.running(settings, store, access, issuer=an_issuer(), build=build) as application:
        transport = httpx.ASGITransport(application)
        headers = {"Authorization": "Bearer owner"}
        async with httpx.AsyncClient(transport=transport, base_url=BASE, headers=headers) as web:
            soak = Soak(web, store, settings.database)
            await soak.lives(range(WARM_UP))
            first = held(settings)
            await soak.lives(range(WARM_UP, LIVES))
            last = held(settings)
            metrics = (await soak.ask("GET", "/metrics")).text
            assert (await soak.ask("DELETE", f"{SAME_VERSION['galleryImageId']}")).status_code in {200, 202}
            await soak.until(lambda: not store.images.list())
    return soak.outcomes, {"first": first, "last": last, "metrics": metrics.splitlines()}


def all_of_it(settings: Settings) -> dict[str, Any]:
    """The soak with what was there before and after it."""
    with opened(settings.database) as store:
        make_gallery(store)
        ledger = sqlite3.connect(settings.database)
        ledger.executescript(LEDGER)
        kept = {row.key for row in store.resources.list()}
        before, open_files = first_snapshot(settings.home), descriptors(but=settings.database)
        threads = set(threading.enumerate())
        outcomes, found = asyncio.run(soaked(settings, store))
        left = differences(before, snapshot(settings.home))
        left += sorted(descriptors(but=settings.database) - open_files)
        # the pools beside the event loop, and the one who writes the audit, belong to the process and have their limits
        new = [thread.name for thread in threading.enumerate() if thread not in threads]
        left += [name for name in new if not name.startswith((*POOLS, "audit"))]
        left += sorted({row.key for row in store.resources.list()} - kept)
        left += [str(operation) for operation in store.operations.open_ones()]
        runs = store.runs.list(limit=None)
        ended = Counter(row[0] for row in ledger.execute("SELECT run_id FROM ended"))
        changed = ledger.execute("SELECT * FROM changed_after_its_end").fetchall()
        ledger.close()
    return found | {
        "left": left,
        "runs": len(runs),
        "ended_once": sum(ended[run.run_id] == 1 for run in runs),
        "changed_after_their_end": changed,
        "outcomes": [[name, outcome, count] for (name, outcome), count in sorted(outcomes.items())],
    }


if __name__ == "__main__":
    keep_in_one_arena()  # as every service and worker does
    hurry()
    sys.stdout.write(json.dumps(all_of_it(Settings(Path(sys.argv[1])))))
