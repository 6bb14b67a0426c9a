"""Nothing dies silently: each round and each part of a service is made to raise, whichever the code has.

They are looked up in the code, so that a new one is tried too: rounds by `for_ever`, `going_on` and
`Rounds.own`, parts by `OwnedTasks.own`. A style rule beside it holds that there are no others.
"""

import ast
import asyncio
import contextlib
import functools
import importlib
import logging
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio.to_thread
import httpx
import pytest
from in_process import BASE, GROUP, SUBSCRIPTION, TEMPLATE, TestAccess, a_template, an_issuer
from stub_build import stub_build

from vmkiln import service as vmkiln_service
from vmkiln.blobs import blob_server
from vmkiln.fleet import hosting
from vmkiln.fleet.host_identity import HostIdentity
from vmkiln.lifetime import owned_tasks
from vmkiln.lifetime.notify_socket import NotifySocket
from vmkiln.lifetime.owned_tasks import OwnedTasks
from vmkiln.lifetime.rounds import Rounds
from vmkiln.service import running
from vmkiln.settings import Settings
from vmkiln.sharing import shared_storage
from vmkiln.store.database import Store, opened
from vmkiln.store.rows import ResourceRow
from vmkiln.waiting import off_loop

ROOT = Path(__file__).parents[2] / "vmkiln"
MECHANISM = ROOT / "lifetime"
ROUND_CALLS = {"for_ever", "going_on"}
OF_A_RUN = "run log"  # owned by its run, not by the process
AZURITE = """#!/bin/sh
echo "Azurite Blob service successfully listens on it"
exec /bin/sleep 600
"""
SERVES = """
import asyncio, os, sys
from pathlib import Path
from vmkiln.cli.commands import serve
from vmkiln.cli.interrupts import host_to_end
from vmkiln.fleet.host_identity import HostIdentity
from vmkiln.lifetime.owned_tasks import OwnedTasks
from vmkiln.listener import Address
from vmkiln.settings import Settings

own = OwnedTasks.own
async def dies():
    await asyncio.sleep(0.5)
    raise RuntimeError("made to die")
def broken(self, name, work, **options):
    if name == sys.argv[2]:
        work.close()
        work = dies()
    own(self, name, work, **options)
OwnedTasks.own = broken
import logging
logging.basicConfig(level=logging.INFO)
host_to_end(serve._serve(Settings(Path(sys.argv[1])), Address("127.0.0.1", 0), None, HostIdentity()), ended="ended")
"""


@functools.cache
def calls_by_file() -> list[tuple[Path, str, ast.Call]]:
    """Every call of a method in the product, but for those of the mechanism itself, with the method's name."""
    found = []
    for file in sorted(ROOT.rglob("*.py")):
        if MECHANISM in file.parents and file.stem != "notify_socket":
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                found.append((file, node.func.attr, node))
    return found


def calls() -> list[tuple[str, ast.Call]]:
    return [(name, call) for _file, name, call in calls_by_file()]


def periods_in_the_code() -> set[tuple[Path, str]]:
    """The constants that say how often rounds are gone, each with its file."""
    return {
        (file, keyword.value.id)
        for file, name, call in calls_by_file()
        if name in {*ROUND_CALLS, "own"}
        for keyword in call.keywords
        if keyword.arg == "seconds" and isinstance(keyword.value, ast.Name) and keyword.value.id.isupper()
    }


def literal(node: ast.expr) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


@functools.cache  # asked for again and again while a test waits
def rounds_in_the_code() -> frozenset[str]:
    """The names of all rounds."""
    names = [literal(call.args[0]) for attr, call in calls() if attr in ROUND_CALLS and call.args]
    names += [literal(call.args[1]) for attr, call in calls() if attr == "own" and len(call.args) == 3]
    assert "" not in names, "a round's name is written where it begins"
    return frozenset(names)


@functools.cache
def parts_in_the_code() -> frozenset[str]:
    """The names of all owned tasks."""
    names = [literal(call.args[0]) for attr, call in calls() if attr == "own" and len(call.args) == 2]
    names += [literal(call.args[1]) for attr, call in calls() if attr == "own" and len(call.args) == 3]
    assert "" not in names, "a part's name is written where it begins"
    return frozenset(names)


def test_rounds_and_parts_are_found_in_the_code() -> None:
    """The search finds what is there; what it should find besides shows in the test after this."""
    assert {"runs", "janitor", "lease", "session", "blob logs", "watchdog"} <= rounds_in_the_code()
    assert {"host", "image builder", "blob storage", "shared storage", "systemd watchdog"} <= parts_in_the_code()


@dataclass
class Everything:
    """A service that does all that one can do, and the client that asks it."""

    store: Store
    settings: Settings
    rounds: Rounds
    client: httpx.AsyncClient

    async def ask(self, method: str, path: str, body: Any = None, *, version: str = "2025-10-01") -> httpx.Response:
        headers = {"Authorization": "Bearer owner"}
        url = f"{BASE}{path}?api-version={version}"
        return await self.client.request(method, url, json=body, headers=headers)

    async def a_run_that_waits(self) -> None:
        """A run that goes on until the service ends."""
        assert (await self.ask("PUT", TEMPLATE, a_template("wait"))).status_code == 201
        await self.until(lambda now: now["provisioningState"] == "Succeeded")
        assert (await self.ask("POST", f"{TEMPLATE}/run")).status_code == 202
        await self.until(lambda now: now["lastRunStatus"]["runState"] == "Running")

    async def until(self, is_there: Callable[[Any], bool]) -> Any:
        """Wait until the template's properties are as wanted; gives them."""
        async with asyncio.timeout(30):
            while not is_there(now := (await self.ask("GET", TEMPLATE)).json()["properties"]):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        return now


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounds that would take a minute take a moment."""
    for file, name in periods_in_the_code():
        module = importlib.import_module(".".join(file.relative_to(ROOT.parent).with_suffix("").parts))
        monkeypatch.setattr(module, name, 0.1)
    monkeypatch.setattr(hosting, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(blob_server, "FIRST_PAUSE_SECONDS", 0.1)
    monkeypatch.setattr(shared_storage, "LOOK_SECONDS", 0.1)


@contextlib.asynccontextmanager
async def everything(
    folder: Path,
    *,
    trouble: Callable[[str], None] = lambda _name: None,
    on_unasked: Callable[[], None] = owned_tasks.nothing,
) -> AsyncIterator[Everything]:
    """A service with a host, a blob server, an object store and systemd."""
    azurite, main = folder / "azurite/node", folder / "azurite/node_modules/.bin/azurite-blob"
    main.parent.mkdir(parents=True)
    main.touch()
    azurite.write_text(AZURITE)
    azurite.chmod(0o755)
    (folder / "objects").mkdir()
    settings = Settings(
        folder / "home",
        object_store=f"file://{folder}/objects",
        blob_connection_string="",
        notice_events="template-suspended",  # which none is: somebody is to be told, and there is nothing to tell
        notice_webhook="http://127.0.0.1:9/",
        notice_webhook_secret_file=folder / "none",
    )
    settings.home.mkdir()
    rounds = Rounds(trouble=trouble)
    with (
        opened(settings.database, home=settings.home) as store,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd,
    ):
        systemd.bind(str(folder / "notify"))
        systemd.setblocking(False)
        shared = shared_storage.shared_storage(settings, store, rounds=rounds)
        properties = {"provisioningState": "Succeeded"}
        group = {"subscription_id": SUBSCRIPTION, "resource_group": "rg1", "location": "westus2"}
        kind = "Microsoft.Resources/resourceGroups"
        store.resources.put(ResourceRow(id=GROUP, type=kind, name="rg1", properties=properties, **group))

        async def level() -> str:
            return "emulated"

        async def no_visit(_asked: object) -> None: ...

        access = TestAccess({"owner": [("Owner", "/")]})
        access.keep(store)
        async with (
            running(
                settings,
                store,
                access,
                issuer=an_issuer(),
                build=stub_build(settings, store, shared=shared),
                watch_seconds=0.1,
                identity=HostIdentity("here", lease_seconds=2.0),
                isolation_level=level,
                shared=shared,
                rounds=rounds,
                notify=NotifySocket(str(folder / "notify"), 0.3),
                on_unasked=on_unasked,
                visit=no_visit,
            ) as application,
            httpx.AsyncClient(transport=httpx.ASGITransport(application)) as client,
        ):
            yield Everything(store, settings, rounds, client)


@pytest.fixture
def azurite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for the blob server, wherever the service looks for it."""
    server = blob_server.Azurite(tmp_path / "azurite/node", tmp_path / "azurite/main.js")
    monkeypatch.setattr(vmkiln_service, "find_azurite", lambda _place: server)


@pytest.mark.usefixtures("quick", "azurite")
async def test_no_round_ends_whatever_it_raises(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Each raises what nobody foresaw, then what the system says, then a cancel that nobody asked for; it goes on."""
    troubles = (RuntimeError("nobody foresaw this"), PermissionError(13, "denied"), asyncio.CancelledError())
    tries: dict[str, int] = {}
    lock = threading.Lock()

    def trouble(name: str) -> None:
        with lock:
            number = tries[name] = tries.get(name, 0) + 1
        if number <= len(troubles):
            raise troubles[number - 1]

    enough = len(troubles) + 1
    async with everything(tmp_path, trouble=trouble) as service:
        await service.a_run_that_waits()
        wanted = rounds_in_the_code()
        async with asyncio.timeout(60):
            while {name for name, count in tries.items() if count >= enough} != wanted:
                assert set(tries) <= wanted
                await asyncio.sleep(0.1)
        assert (await service.ask("GET", "/subscriptions")).status_code == 200
        metrics = (await service.ask("GET", "/metrics")).text
        for name in sorted(wanted):
            assert service.rounds.failures()[name] >= len(troubles), name
            assert f'vmkiln_round_failures_total{{round="{name}"}}' in metrics, name
            told = [record for record in caplog.records if record.args and record.args[0] == name]
            assert any(record.exc_info and "nobody foresaw this" in record.getMessage() for record in told), name
        # all of them go well again, as soon as the try that raised nothing has ended; the stand-in takes no blobs
        others = {"blobs", "blob logs"}
        for _ in range(600):
            left = [state.name for state in service.rounds.states() if state.problem and state.name not in others]
            if not left:
                break
            await asyncio.sleep(0.1)
        assert not left


@pytest.mark.usefixtures("quick", "azurite")
async def test_rounds_go_on_and_health_is_told_while_all_threads_are_busy(tmp_path: Path) -> None:
    """Hashes and fetches may have all of asyncio's threads, slow requests all of anyio's, records all of ours."""
    tries: dict[str, int] = {}
    release = threading.Event()
    lock = threading.Lock()

    def tried(name: str) -> None:
        with lock:
            tries[name] = tries.get(name, 0) + 1

    async with everything(tmp_path, trouble=tried) as service:
        await service.a_run_that_waits()
        await until(lambda: set(tries) == rounds_in_the_code())
        loop = asyncio.get_running_loop()
        busy: list[Any] = [loop.run_in_executor(None, release.wait, 60) for _ in range(64)]
        busy += [asyncio.create_task(off_loop.off_loop(release.wait, 60)) for _ in range(off_loop.MOST_THREADS)]
        most = int(anyio.to_thread.current_default_thread_limiter().total_tokens)
        busy += [asyncio.create_task(anyio.to_thread.run_sync(release.wait, 60)) for _ in range(most)]
        try:
            await asyncio.sleep(0.2)
            before = dict(tries)
            endless = rounds_in_the_code() - {"host probe", "blob server"}  # one ended well, one lives on
            await until(lambda: all(tries[name] >= before[name] + 3 for name in endless))
            async with asyncio.timeout(10):
                for path in ("/livez", "/readyz", "/healthz"):
                    answer = await service.client.get(f"{BASE}{path}")
                    assert answer.status_code == 200, answer.text
        finally:
            release.set()
            await asyncio.wait(busy)


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(90):  # beside the other tests a round takes its time
        while not is_so():  # noqa: ASYNC110
            await asyncio.sleep(0.05)


def test_there_are_threads_for_all_rounds() -> None:
    assert len(rounds_in_the_code()) < off_loop.MOST_ROUND_THREADS


async def dies() -> None:
    await asyncio.sleep(0.05)
    raise RuntimeError("made to die")


def blocks_in_the_code() -> list[tuple[str, ...]]:
    """What each block of owned tasks owns, by name, but for those of a run; the first one of each is always there."""
    found = []
    for file in sorted(ROOT.rglob("*.py")):
        tree = ast.parse(file.read_text())
        methods = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        for node in ast.walk(tree):
            if isinstance(node, ast.AsyncWith) and "owned_tasks.opened(" in ast.unparse(node.items[0]):
                called = {call.func.attr for call in attribute_calls(node)}
                inside = [node, *(method for name, method in methods.items() if name in called)]
                names = tuple(
                    literal(call.args[len(call.args) - 2])
                    for part in inside
                    for call in attribute_calls(part)
                    if call.func.attr == "own" and len(call.args) in {2, 3}
                )
                found.append(names)
    return [names for names in found if names != (OF_A_RUN,)]


def attribute_calls(tree: ast.AST) -> list[Any]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]


@pytest.mark.usefixtures("quick", "azurite")
@pytest.mark.parametrize("names", blocks_in_the_code(), ids=lambda names: names[0])
async def test_an_unasked_end_is_told_though_a_clean_up_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...]
) -> None:
    """In every block, also in those inside others: the process ends in its time (`cli/interrupts.end_for_sure`)."""
    own = OwnedTasks.own
    is_told, may_end = asyncio.Event(), asyncio.Event()
    victim, hanging = names[0], names[-1]
    if victim == hanging:
        pytest.fail("a block of one task is none")

    async def hangs() -> None:
        try:
            await owned_tasks.for_ever()
        finally:
            await may_end.wait()

    def broken(self: OwnedTasks, name: str, work: Coroutine[Any, Any, object], *, may_end: bool = False) -> None:
        if name in {victim, hanging}:
            work.close()
            work = dies() if name == victim else hangs()
        own(self, name, work, may_end=may_end)

    monkeypatch.setattr(OwnedTasks, "own", broken)

    async def service() -> None:
        async with everything(tmp_path, on_unasked=is_told.set):
            await owned_tasks.for_ever()

    task = asyncio.create_task(service())
    try:
        async with asyncio.timeout(15):
            await is_told.wait()
        assert not task.done(), "its clean-up hangs"
    finally:
        may_end.set()
    with pytest.raises(RuntimeError, match="made to die"):
        await task


@pytest.mark.usefixtures("quick", "azurite")
@pytest.mark.parametrize("victim", sorted(parts_in_the_code()))
async def test_a_part_that_dies_ends_the_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, victim: str
) -> None:
    own = OwnedTasks.own
    died: list[str] = []

    def broken(self: OwnedTasks, name: str, work: Coroutine[Any, Any, object], *, may_end: bool = False) -> None:
        if name == victim:
            work.close()
            died.append(name)
            work = dies()
        own(self, name, work, may_end=may_end)

    monkeypatch.setattr(OwnedTasks, "own", broken)

    async def service() -> str:
        async with everything(tmp_path) as found:
            if victim != OF_A_RUN:
                await asyncio.sleep(20)
                return "goes on"
            await found.a_run_that_waits()
            now = await found.until(lambda now: now["lastRunStatus"]["runState"] != "Running")
            return str(now["lastRunStatus"]["runState"])

    if victim == OF_A_RUN:
        assert await service() == "Failed", "its run ends, and says so"
    else:
        with pytest.raises(RuntimeError, match="made to die"):
            await service()
    assert died == [victim]
    [told] = [record for record in caplog.records if record.levelno == logging.CRITICAL and record.args[0] == victim]
    assert told.exc_info, "with its traceback"
    left = [task.get_name() for task in asyncio.all_tasks() if task.get_name() in parts_in_the_code()]
    assert left == []


@pytest.mark.parametrize("victim", ["templates", "blob storage"])
def test_the_process_ends_with_an_error_so_that_it_is_started_anew(tmp_path: Path, victim: str) -> None:
    command = [sys.executable, "-c", SERVES, str(tmp_path / "home"), victim]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1, done.stderr
    assert f"{victim} failed, and everything else ends with it: made to die" in done.stderr
    assert "Traceback" in done.stderr
