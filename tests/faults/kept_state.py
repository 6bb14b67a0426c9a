"""State that must not be torn: small homes, what is done in them, and what must be true of them afterwards."""

import asyncio
import errno
import hashlib
import os
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import publishing
from publishing import COMPUTE, IMAGE_ID, RUN_ID, a_gallery_target
from syscall_faults import Act

from vmkiln.blobs import account_keys
from vmkiln.blobs.account_keys import AccountKeys
from vmkiln.blobs.blob_endpoint import BlobEndpoint, BlobService, read_endpoint, write_endpoint
from vmkiln.host.qemu import Disk
from vmkiln.images import gallery, image_store, managed_image, vhd_image
from vmkiln.images.image_store import TEMPORARY, ImageFacts, sha256_of
from vmkiln.platform_images import image_cache
from vmkiln.preparation import opened_store
from vmkiln.settings import Settings
from vmkiln.store.database import Store, opened
from vmkiln.store.rows import ImageRow, RunOutputRow, RunRow

NOW = datetime(2026, 1, 2, tzinfo=UTC)
OLDER_RUN = "ffffffff-1111-0000-0000-000000000000"
DEAD_RUN = "dead0000-1111-0000-0000-000000000000"
VHD_GROUP = "IT_rg_web_1"
DEFINITION, OTHER = f"{COMPUTE}/galleries/G/images/E", f"{COMPUTE}/galleries/g/images/d"
OLD_KEY, NEW_KEY = "b2xk", "bmV3"
GONE_PROCESS = 4194305  # more than any process id can be
FLAT_BYTES = 40 * 1024
TEMPORARY_NAMES = (TEMPORARY, image_cache.ADDING, image_cache.REMOVING)


def facts_in(home: Path, run_id: str = RUN_ID) -> ImageFacts:
    """What a run has made: a flattened disk in its folder, which is written unless it is there."""
    flat = home / "runs" / run_id / "flat.qcow2"
    content = hashlib.sha256(run_id.encode()).digest() * (FLAT_BYTES // 32)
    if not flat.exists():
        flat.parent.mkdir(parents=True)
        flat.write_bytes(content)
        image_store.seal(flat)
    return ImageFacts(flat, hashlib.sha256(content).hexdigest(), FLAT_BYTES, 1, "Linux", "12.20260102.30", run_id)


def vhd_of(home: Path, name: str = "web") -> Path:
    return home / "staging" / VHD_GROUP / "account" / "vhds" / f"{name}.vhd"


def a_run(run_id: str, state: str) -> RunRow:
    template = f"{COMPUTE}/templates/{run_id[:4]}".lower()
    return RunRow(run_id, "web", "rg", {"a": 1}, state, "", "", "", "", {"need": 1}, NOW, None, template)


def an_image(image_id: str) -> ImageRow:
    path = Path("/images/none/disk.qcow2")
    return ImageRow(
        image_id, "SharedImageVersion", path, "qcow2", "0" * 64, 1, 1, 1, "Linux", "1.2.3", RUN_ID, {}, {}, NOW
    )


# homes


def with_older_images(home: Path) -> None:
    """An older managed image and an older version are published."""
    with opened(Settings(home).database, clock=lambda: NOW) as store:
        older = facts_in(home, OLDER_RUN)
        publishing.to_managed_image(home, store, older)
        publishing.to_gallery(home, store, older)
    shutil.rmtree(home / "runs")


def with_images(home: Path) -> None:
    """The same, and a run is about to publish."""
    with_older_images(home)
    facts_in(home)


def with_nothing(home: Path) -> None:
    """A home that is new."""


def empty(home: Path) -> None:
    """Nothing but a run that is about to publish its first image."""
    facts_in(home)


def with_runs(home: Path) -> None:
    """A database with a run that waits and one that goes on."""
    with opened(Settings(home).database, clock=lambda: NOW) as store:
        store.runs.add(a_run("aaaa1111", "Queued"))
        store.runs.add(a_run("bbbb1111", "Running"))
        store.staging.add_group(VHD_GROUP, run_id="bbbb1111", storage_account="account", tags={})
        store.staging.add_resource(VHD_GROUP, run_id="bbbb1111", type="t", name="n", detail={})
        store.runs.begin_phase("bbbb1111", "Building")
        store.images.add_version(an_image(f"{OTHER}/versions/1.0.0"), definition_id=OTHER)


def with_leftovers(home: Path) -> None:
    """All that processes can leave behind which died."""
    with_images(home)
    images, cache, runs = Settings(home).image_store, Settings(home).image_cache, Settings(home).runs
    for folder in (
        images / f"{TEMPORARY}web-aaaa-dead0000" / "replicas",
        images / "web-aaaa-dead0000",
        cache / f"{image_cache.ADDING}0123-{GONE_PROCESS}",
        cache / f"{image_cache.REMOVING}0123-{GONE_PROCESS}",
        runs / DEAD_RUN,
        vhd_of(home).parent,
    ):
        folder.mkdir(parents=True)
        (folder / "disk.qcow2").write_bytes(b"x" * 5000)
    (runs / f"{DEAD_RUN}.lock").touch()
    with opened(Settings(home).database, clock=lambda: NOW) as store:
        store.runs.add(a_run(DEAD_RUN, "Running"))


# deeds


def publish_managed_image(home: Path, store: Store) -> None:
    publishing.to_managed_image(home, store, facts_in(home))


def publish_version(home: Path, store: Store) -> None:
    gallery.publish(Settings(home).image_store, store, facts_in(home), a_gallery_target())


def publish_vhd(home: Path, store: Store) -> None:
    file = vhd_of(home)
    with_real = (vhd_image.convert, asyncio.to_thread, vhd_image.off_loop)
    vhd_image.convert, asyncio.to_thread = _copied, _in_this_thread  # type: ignore[assignment]
    vhd_image.off_loop = _in_this_thread  # type: ignore[assignment]
    try:
        asyncio.run(vhd_image.publish(file, store, facts_in(home), artifact_id="/vhds/web.vhd", tags={}))
    finally:
        vhd_image.convert, asyncio.to_thread, vhd_image.off_loop = with_real  # type: ignore[assignment]


async def _copied(disk: Disk, target: Path, *, target_format: str) -> None:
    """In place of qemu-img, which has calls of its own."""
    target.write_bytes(disk.path.read_bytes())


async def _in_this_thread(function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Any:
    """So that the calls have one order."""
    return function(*arguments, **named)


def publish_vhd_elsewhere(home: Path, store: Store) -> None:
    real = Path.hardlink_to

    def refused_across(self: Path, target: Path) -> None:
        if target.parent != self.parent:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        real(self, target)

    Path.hardlink_to = refused_across  # type: ignore[method-assign,assignment]
    try:
        publish_vhd(home, store)
    finally:
        Path.hardlink_to = real  # type: ignore[method-assign]


def remove_image(home: Path, store: Store) -> None:
    for image in store.images.list():
        if image.kind == managed_image.KIND:
            image_store.remove(image, store)


def add_to_cache(home: Path, store: Store) -> None:
    cache = Settings(home).image_cache
    file = home / "runs" / RUN_ID / "flat.qcow2"
    facts_in(home)
    image_cache.add(
        cache, file, name="a:b:c", exact_version="1.2.3", format="qcow2", generation=1, os_type="Linux",
        virtual_size_bytes=4096, origin="a test", created=NOW,
    )  # fmt: skip


def remove_from_cache(home: Path, store: Store) -> None:
    for image in image_cache.cached_images(Settings(home).image_cache):
        image_cache.remove(image)


def keep_keys(home: Path, store: Store) -> None:
    keys, real = AccountKeys(Settings(home).blobs / "accounts.json"), account_keys.new_key
    account_keys.new_key = lambda: OLD_KEY
    try:
        keys.ensure(["one", "two"])
        account_keys.new_key = lambda: NEW_KEY
        keys.renew("one", "key1")
    finally:
        account_keys.new_key = real
    write_endpoint(Settings(home).blob_endpoint, BlobEndpoint(BlobService.AZURITE, "http://127.0.0.1:1"))


def clean_up(home: Path, store: Store) -> None:
    with opened_store(Settings(home), lambda _text: None):
        pass


COMMITS: dict[str, Callable[[Store], object]] = {
    "queue_run": lambda store: store.runs.queue(a_run("cccc1111", "Queued")),
    "start_run": lambda store: store.runs.start(replace(a_run("aaaa1111", "Running"), facts={"isolation": "x"})),
    "requeue_run": lambda store: store.runs.requeue("bbbb1111", most_attempts=9),
    "move_run": lambda store: store.runs.move("bbbb1111", expected=["Running"], state="Failed", message="m" * 9000),
    "begin_phase": lambda store: store.runs.begin_phase("bbbb1111", "Customizing"),
    "put_run_output": lambda store: store.images.put_output(RunOutputRow("bbbb1111", "o", "i", "u", "Succeeded", "")),
    "add_image_version": lambda store: store.images.add_version(
        an_image(f"{DEFINITION}/versions/1.0.0"), definition_id=DEFINITION
    ),
    "replace_image": lambda store: store.images.replace(an_image(IMAGE_ID)),
    "remove_image": lambda store: store.images.remove(store.images.list()[0].artifact_id),
    "staging_group_deleted": lambda store: store.staging.group_deleted(VHD_GROUP),
    "add_runs": lambda store: store.runs.add_many([a_run(f"{number:04}aaaa", "Queued") for number in range(60)]),
}


# what must be true afterwards


def torn(home: Path, store: Store) -> list[str]:
    """What is not as it must be once recovery is over; nothing when all is well."""
    problems = []
    images = store.images.list()
    for image in images:
        if not image.path.is_file():
            problems.append(f"{image.artifact_id} is recorded and has no file")
        elif sha256_of(image.path) != image.digest:
            problems.append(f"{image.artifact_id} is not what was published")
        elif image.kind == vhd_image.KIND:
            vhd_image.read_vhd(image.path)
        else:
            replicas = image.path.parent.rglob("*.qcow2")
            problems += [f"{path} differs" for path in replicas if sha256_of(path) != image.digest]
    recorded = {image.path.parent if image.path.is_relative_to(home / "images") else image.path for image in images}
    there = {*_names(home / "images"), *vhd_of(home).parent.glob("*")}
    if there != recorded:
        problems.append(f"there {sorted(there - recorded)}, recorded {sorted(recorded - there)}")
    problems += [f"{path} was left" for path in home.rglob("*") if path.name.startswith(TEMPORARY_NAMES)]
    problems += [f"{path} was left" for path in (home / "runs").glob("*")]
    return problems


def _names(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def torn_beside(home: Path) -> list[str]:
    """The same for the cache, the keys and the endpoint."""
    problems = []
    for image in image_cache.cached_images(Settings(home).image_cache):
        try:
            asyncio.run(image_cache.checked(image))
        except Exception as error:
            problems.append(f"the cache gives out what it must not: {error}")
    keys = AccountKeys(Settings(home).blobs / "accounts.json").all()
    if sorted(keys) not in ([], ["one", "two"]):
        problems.append(f"keys of {sorted(keys)}")
    read_endpoint(Settings(home).blob_endpoint)
    return problems


def rows_in(database: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table, after SQLite's own look at the file. Raises: `sqlite3.DatabaseError`."""
    connection = sqlite3.connect(database)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall()
        return {name: sorted(connection.execute(f"SELECT * FROM {name}").fetchall(), key=repr) for (name,) in tables}  # noqa: S608
    finally:
        connection.close()


# cases


def _always(home: Path, store: Store) -> bool:
    return True


@dataclass(frozen=True)
class Case:
    """A home, what is done in it, and what says that it was done."""

    home: Callable[[Path], None]
    deed: Callable[[Path, Store], object]
    is_there: Callable[[Path, Store], bool] = _always
    needs_store: bool = True

    def act(self, home: Path) -> Act:
        """The deed by a process that opens the database, and closes it."""

        def act(gate: Callable[[], None], done: Callable[[], None]) -> None:
            gate()
            if not self.needs_store:
                self.deed(home, None)  # type: ignore[arg-type]
                done()
                return
            with opened(Settings(home).database, clock=lambda: NOW) as store:
                self.deed(home, store)
                done()

        return act


def _has(kind: str, run_id: str = RUN_ID) -> Callable[[Path, Store], bool]:
    def has(home: Path, store: Store) -> bool:
        return any(image.kind == kind and image.run_id == run_id for image in store.images.list())

    return has


def _has_no_managed_image(home: Path, store: Store) -> bool:
    return not _has(managed_image.KIND, OLDER_RUN)(home, store)


def _cache_has_one(home: Path, store: Store) -> bool:
    return len(image_cache.cached_images(Settings(home).image_cache)) == 1


def _has_keys(home: Path, store: Store) -> bool:
    keys = AccountKeys(Settings(home).blobs / "accounts.json").all()
    return (
        keys == {"one": (NEW_KEY, OLD_KEY), "two": (OLD_KEY, OLD_KEY)}
        and read_endpoint(Settings(home).blob_endpoint) is not None
    )


def with_a_cached_image(home: Path) -> None:
    with_images(home)
    add_to_cache(home, None)  # type: ignore[arg-type]


CASES = {
    "a managed image": Case(with_images, publish_managed_image, _has(managed_image.KIND)),
    "the first managed image": Case(empty, publish_managed_image, _has(managed_image.KIND)),
    "a version": Case(with_images, publish_version, _has(gallery.KIND)),
    "a VHD": Case(with_images, publish_vhd, _has(vhd_image.KIND)),
    "a VHD on another file system": Case(with_images, publish_vhd_elsewhere, _has(vhd_image.KIND)),
    "an image's end": Case(with_images, remove_image, _has_no_managed_image),
    "a cached image": Case(with_images, add_to_cache, _cache_has_one, needs_store=False),
    "a cached image's end": Case(with_a_cached_image, remove_from_cache, needs_store=False),
    "keys": Case(empty, keep_keys, _has_keys, needs_store=False),
    "cleaning up": Case(with_leftovers, clean_up, needs_store=False),
}
# the disk that is published is made here, too
AT_POWER_LOSS = {
    name: replace(case, home={with_images: with_older_images, empty: with_nothing}[case.home])
    for name, case in CASES.items()
    if case.home in {with_images, empty}
}
