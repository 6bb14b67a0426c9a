"""Real builds: the command line and the run, as an ordinary user, under whatever accelerator works here.

The platform image is made once and kept in the state directory of the tests.
"""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from empty_world import World, differences, first_snapshot, snapshot

from vmkiln.images import image_store
from vmkiln.preparation import opened_store, prepared_host
from vmkiln.run.held import lease
from vmkiln.run.run_context import BuildHost, RunRequest
from vmkiln.run.run_event import LogLine, RunEvent
from vmkiln.run.workflow import execute
from vmkiln.run_state import TERMINAL_STATES, new_run_id
from vmkiln.settings import Settings
from vmkiln.settings_sources import read_settings
from vmkiln.staging import staging_resource_group
from vmkiln.staging.local_files import LocalFiles
from vmkiln.staging.user_network import UserVirtualNetwork
from vmkiln.store.database import Store
from vmkiln.template.template_file import read_image_template

# what a build does beside Packer's work takes long: only the tests that are about it have it
GATES = {"VMKILN_ALLOWED_RESIDUES": "", "VMKILN_BOOT_GATE": "true"}
# and no build begins behind another one's customizers but where that is tried
os.environ |= {"VMKILN_ALLOWED_RESIDUES": "all", "VMKILN_BOOT_GATE": "false", "VMKILN_CHECKPOINTS": "none"}
VMKILN = [sys.executable, "-m", "vmkiln"]
IMAGES = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/tests/providers/Microsoft.Compute"
PLATFORM_IMAGE = {
    "type": "PlatformImage",
    "publisher": "Debian",
    "offer": "debian-12",
    "sku": "12",
    "version": "latest",
}


@pytest.fixture(scope="session")
def settings() -> Settings:
    """Where the tests' state lies; builds run as an ordinary user."""
    assert os.getuid() != 0, "these tests run as an ordinary user: use script/test"
    return read_settings()


@pytest.fixture(scope="session")
def prepared(settings: Settings) -> Iterator[Settings]:
    """The container image and the platform image are there, and what build VMs go on from if it can be made.

    Those are kept. What the tests built is gone after the last of them: gigabytes, with each run of the tests.
    """
    command = [*VMKILN, "prepare", "--platform-image", "Debian:debian-12:12"]
    subprocess.run(command, check=True, timeout=1200)
    subprocess.run([*VMKILN, "image", "warm", "Debian:debian-12:12"], check=False, timeout=1200)  # kept, as the image
    with opened_store(settings, print) as store:
        images, runs = built(store)
    yield settings
    with opened_store(settings, print) as store:
        take_away(settings, store, images, runs)
        assert built(store) == (images, runs), "what the tests built is still there"


def built(store: Store) -> tuple[frozenset[str], frozenset[str]]:
    """The ids of all images and all ended runs on record."""
    runs = store.runs.list(limit=None, states=tuple(TERMINAL_STATES), has_template=False)
    return frozenset(row.artifact_id for row in store.images.list()), frozenset(row.run_id for row in runs)


def take_away(settings: Settings, store: Store, images: frozenset[str], runs: frozenset[str]) -> None:
    """Delete all images and all ended runs but these, with what belongs to them."""
    for image in store.images.list():
        if image.artifact_id not in images:
            image_store.remove(image, store)
    for run in store.runs.list(limit=None, states=tuple(TERMINAL_STATES), has_template=False):
        if run.run_id in runs:
            continue
        if run.staging_group and (group := store.staging.group(run.staging_group)) is not None:
            staging_resource_group.delete(settings.staging, store, group)
        lease.forget(settings, store, run.run_id)
        store.runs.forget(run.run_id)


@pytest.fixture
def world(prepared: Settings) -> Iterator[None]:
    """After the test, exactly what was there before is there again."""
    with unchanged_world(prepared):
        yield


@contextlib.contextmanager
def unchanged_world(prepared: Settings) -> Iterator[None]:
    """After the block, exactly what was there before is there again."""
    before: World = first_snapshot(prepared.home)
    yield
    left = differences(before, snapshot(prepared.home))
    assert not left, "\n".join(left)


def a_template(*customize: dict[str, Any], name: str = "test", **properties: Any) -> dict[str, Any]:
    """A template of a small Linux image; `properties` replaces members."""
    target = {
        "type": "ManagedImage",
        "runOutputName": "image",
        "imageId": f"{IMAGES}/images/{name}",
        "location": "local",
    }
    return {
        "name": name,
        "location": "local",
        "identity": {"type": "None"},
        "properties": {
            "source": PLATFORM_IMAGE,
            "customize": list(customize),
            "distribute": [target],
            **properties,
        },
    }


def shell(*lines: str, name: str = "shell") -> dict[str, Any]:
    """An inline Shell step."""
    return {"type": "Shell", "name": name, "inline": list(lines)}


@dataclass
class Told:
    """What a run told, and how it ended."""

    events: list[RunEvent] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    error: BaseException | None = None
    run_id: str = ""

    @property
    def log(self) -> list[str]:
        """The log's lines."""
        return [event.text for event in self.events if isinstance(event, LogLine)]


Watcher = Callable[[RunEvent, "asyncio.Task[Any]"], None]


@pytest.fixture
def run_template(prepared: Settings, tmp_path: Path) -> Callable[..., Told]:
    """Runs a template whose local files lie in `tmp_path`."""
    return runner(prepared, tmp_path)


@dataclass(frozen=True)
class Wanted:
    """A run that is to be made: its template, what sees each of its events and may cancel it, and the user's networks."""

    body: dict[str, Any]
    watcher: Watcher | None = None
    virtual_networks: Mapping[str, UserVirtualNetwork] = field(default_factory=dict)


def runner(prepared: Settings, files: Path) -> Callable[..., Told]:
    """Runs a template in this process; a watcher sees each event and may cancel the run's task."""

    def run(
        body: dict[str, Any],
        *,
        watcher: Watcher | None = None,
        virtual_networks: Mapping[str, UserVirtualNetwork] | None = None,
    ) -> Told:
        (told,) = told_at_once(prepared, files, Wanted(body, watcher, virtual_networks or {}))
        return told

    return run


def told_at_once(prepared: Settings, files: Path, *wanted: Wanted) -> list[Told]:
    """What runs told that were made at the same time on one host, in this process: a VM leaves CPUs to the others."""
    all_told = [Told(run_id=new_run_id()) for _ in wanted]

    async def one(host: BuildHost, told: Told, run: Wanted) -> None:
        task = asyncio.current_task()
        assert task is not None

        def tell(event: RunEvent) -> None:
            told.events.append(event)
            if run.watcher is not None:
                run.watcher(event, task)

        try:
            told.summary = await execute(host, _request(run, told.run_id, files), tell)
        except BaseException as error:
            told.error = error

    async def work() -> None:
        with opened_store(prepared, print) as store:
            async with prepared_host(prepared, store, print) as host, asyncio.TaskGroup() as tasks:
                for told, run in zip(all_told, wanted, strict=True):
                    tasks.create_task(one(host, told, run))

    try:
        asyncio.run(work())
    except BaseException as error:
        for told in all_told:
            told.error = told.error or error
    return all_told


def _request(run: Wanted, run_id: str, files: Path) -> RunRequest:
    resolved = read_image_template(json.dumps(run.body), file_name="test.json")
    return RunRequest(
        run_id=run_id,
        template_name=resolved.name,
        resource_group="tests",
        template=resolved.image_template,
        resolved=resolved.resolved,
        local_files=LocalFiles(files, is_allowed=True),
        mask=resolved.mask,
        virtual_networks=run.virtual_networks,
    )
