"""A thousand lives of image templates, a third of them troubled: each run ends once, and nothing grows or is left.

The troubles follow from a seed. Everything is real but the virtual machines.
"""

import asyncio
import ctypes
import gc
import logging
import random
import shutil
import sqlite3
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import stub_build
from empty_world import differences, first_snapshot, snapshot
from in_process import BASE, GROUP, SUBSCRIPTION, TestAccess, a_template, an_issuer
from open_files import descriptors

from vmkiln import serving
from vmkiln.run import hosting
from vmkiln.run.admission import Room
from vmkiln.run.durable_attempts import THREADS
from vmkiln.run.run_context import RunRequest, Tell
from vmkiln.settings import Settings
from vmkiln.store.database import Store, opened
from vmkiln.store.rows import ResourceRow
from vmkiln.template.customizers.shell import ShellCustomizer
from vmkiln.template.image_template import ImageTemplate

LIVES, WARM_UP, AT_ONCE = 1000, 250, 16
SEED = 20261127
ROOM = Room(16, 1024**2, 1024**3)  # eight runs at once; the others wait
LOOK_SECONDS = 0.3
PATIENCE_SECONDS = 60
MOST_GROWTH = 1.05
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
    chosen: random.Random = field(default_factory=lambda: random.Random(SEED))  # noqa: S311 (no secret)
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
        assert (await self.ask("POST", f"{path}/run")).status_code == 202
        if trouble.is_contended:
            await asyncio.to_thread(hold_the_write_lock, self.database, moment)
        if trouble.is_deleted:
            refused = await self.ask("DELETE", path)
            assert (refused.status_code, refused.json()["error"]["code"]) == (409, "OperationNotAllowed")
        if trouble.is_cancelled:
            await asyncio.sleep(moment)
            asked = await self.ask("POST", f"{path}/cancel")
            assert asked.status_code == 204 or "wait" not in trouble.commands, asked.text
        [run] = self.store.runs_of_template(path.lower())
        run = await self.until(lambda: (found := self.store.run(run.run_id)).ended and found)
        outcome = f"{run.state} {run.error_code}".strip()
        assert outcome in trouble.outcomes, f"{number} {name}: {outcome} {run.message}"
        self.outcomes[name, outcome] += 1
        assert (await self.ask("DELETE", path)).status_code == 202
        await self.until(lambda: self.store.resources.get(path) is None)

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


class MallocInfo(ctypes.Structure):
    """The C library's own account of its memory, in bytes and pieces; mallinfo(3)."""

    _fields_ = (
        *((name, ctypes.c_size_t) for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd")),
        *((name, ctypes.c_size_t) for name in ("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")),
    )


def memory_in_use() -> tuple[int, int]:
    """What is allocated once the garbage is gone: small blocks of Python's, and bytes of the C library's.

    Not what the process has from the kernel, for how much of that is free, but in pieces, is chance; nor what SQLite
    keeps of a database that grows, up to 2 MB for each connection.
    """
    gc.collect()
    library, sqlite = ctypes.CDLL(None), ctypes.CDLL("libsqlite3.so.0")
    library.mallinfo2.restype, sqlite.sqlite3_memory_used.restype = MallocInfo, ctypes.c_int64
    found = library.mallinfo2()
    return sys.getallocatedblocks(), found.uordblks + found.hblkhd - sqlite.sqlite3_memory_used()


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder in memory where there is one: a thousand lives commit often."""
    memory = Path("/dev/shm")
    directory = Path(tempfile.mkdtemp(prefix="vmkiln-soak-", dir=memory if memory.is_dir() else None))
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A service that does not rest, on a machine of some size; nobody keeps what it logs."""
    caplog.set_level(logging.CRITICAL + 1, logger="vmkiln")

    def seconds(template: ImageTemplate) -> float:
        return 0.05 if "too long" in commands_of(template) else PATIENCE_SECONDS

    monkeypatch.setattr(ImageTemplate, "build_timeout_seconds", property(seconds))
    monkeypatch.setattr(stub_build, "PHASE_SECONDS", 0)
    monkeypatch.setattr(serving, "host_capacity", lambda _settings: ROOM)
    monkeypatch.setattr(hosting, "JANITOR_SECONDS", 0.5)


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
    store.define_image(f"{GALLERY}/images/d", os_type="Linux", generation=1)


async def soaked(settings: Settings, store: Store, lives: int = LIVES) -> Counter[tuple[str, str]]:
    """Let the service live through it; what it holds must not grow after the first lives."""
    real = stub_build.stub_build(settings, store)

    async def build(request: RunRequest, tell: Tell) -> object:
        if "never" in commands_of(request.template):
            raise RuntimeError("it never began")
        return await real(request, tell)

    access = TestAccess({"owner": [("Owner", "/")]})
    async with serving.running(settings, store, access, issuer=an_issuer(), build=build) as application:
        transport = httpx.ASGITransport(application)
        headers = {"Authorization": "Bearer owner"}
        async with httpx.AsyncClient(transport=transport, base_url=BASE, headers=headers) as web:
            soak = Soak(web, store, settings.database)
            await soak.lives(range(WARM_UP))
            held, threads, memory = descriptors(but=settings.database), threads_of_their_own(), memory_in_use()
            await soak.lives(range(WARM_UP, lives))
            assert descriptors(but=settings.database) == held
            assert threads_of_their_own() == threads
            for now, then in zip(memory_in_use(), memory, strict=True):
                assert now < then * MOST_GROWTH
            metrics = (await soak.ask("GET", "/metrics")).text
            assert "\nvmkiln_leftovers 0.0\n" in metrics, metrics
            assert (await soak.ask("DELETE", f"{SAME_VERSION['galleryImageId']}")).status_code in {200, 202}
            await soak.until(lambda: not store.list_images())
    return soak.outcomes


@pytest.mark.usefixtures("hurried")
@pytest.mark.timeout(600)
def test_after_a_thousand_lives_of_templates_nothing_grew_and_nothing_is_left(home: Path) -> None:
    settings = Settings(home)
    with opened(settings.database) as store:
        make_gallery(store)
        ledger = sqlite3.connect(settings.database)
        ledger.executescript(LEDGER)
        ledger.close()
        kept = {row.key for row in store.resources.list()}
        before, held, threads = first_snapshot(home), descriptors(but=settings.database), threading.active_count()
        outcomes = asyncio.run(soaked(settings, store))
        assert differences(before, snapshot(home)) == []
        assert threading.active_count() == threads
        assert descriptors(but=settings.database) == held
        assert outcomes.total() == LIVES
        assert {name for name, _ in outcomes} == {"", *TROUBLES}, "each trouble was met"
        runs = store.list_runs(limit=None)
        ledger = sqlite3.connect(settings.database)
        ended = Counter(row[0] for row in ledger.execute("SELECT run_id FROM ended"))
        assert ended == Counter({run.run_id: 1 for run in runs})
        assert ledger.execute("SELECT * FROM changed_after_its_end").fetchall() == []
        ledger.close()
        assert len(runs) == LIVES
        assert {row.key for row in store.resources.list()} == kept
        assert store.operations.open_ones() == []
