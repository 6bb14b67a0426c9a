"""Rows without a VM: the end of a build on a disk as a build leaves it, against plain tools on the same bytes."""

import asyncio
import contextlib
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from speed_rows.row import Found, Row, Work
from vmkiln.host.disk.disk_image import convert, create_overlay, virtual_size
from vmkiln.host.qemu import Accelerator, Disk
from vmkiln.images.container_image import ContainerImage
from vmkiln.images.image_store import publish_linked, sealed
from vmkiln.run import distributing
from vmkiln.run.run_context import BuildHost, Disks, ResolvedSource, RunRequest
from vmkiln.settings import Settings
from vmkiln.staging.local_files import NO_LOCAL_FILES
from vmkiln.staging.storage_account import StorageAccount
from vmkiln.store.database import opened, utc_now
from vmkiln.store.rows import RunRow
from vmkiln.template.image_template import ImageTemplate

WRITTEN_MIB = 256  # of the build's own in the overlay
GROUP = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/bench/providers/Microsoft.Compute"
MANAGED = {"type": "ManagedImage", "runOutputName": "m", "imageId": f"{GROUP}/images/m", "location": "l"}
GALLERY = {
    "type": "SharedImage", "runOutputName": "g", "galleryImageId": f"{GROUP}/galleries/g/images/d",
    "replicationRegions": ["l"],
}  # fmt: skip
VHD = {"type": "VHD", "runOutputName": "v"}
SOURCE = {"type": "PlatformImage", "publisher": "p", "offer": "o", "sku": "s", "version": "1"}
KINDS: dict[str, list[dict[str, Any]]] = {
    "three targets": [GALLERY, MANAGED, VHD],
    "a managed image": [MANAGED],
    "a VHD": [VHD],
}
OURS, THEIRS = "flatten, hash, publish", "cp, sync, sha256sum"
NO_VM = "none: no VM is booted"
ROWS = (
    Row("flatten", "flatten + hash + publish / cp --sparse and sha256sum of the same bytes", 1.1, NO_VM, OURS, THEIRS),
    Row("targets", "three targets / one, a VHD", 1.3, NO_VM, "three targets", "a VHD"),
    Row("targets", "three targets / one, a managed image", 1.3, NO_VM, "three targets", "a managed image"),
)


@contextlib.asynccontextmanager
async def works(image: dict[str, str], folder: Path) -> AsyncIterator[tuple[Work, ...]]:
    """The works of these rows; what all of them read is in the folder until the block is left."""
    disk, flat = await _customized(folder, image), folder / "flat.qcow2"
    await convert(disk, flat, target_format="qcow2")
    size = await virtual_size(disk)

    async def ended(at: Path, wanted: frozenset[str]) -> Found:
        found: dict[str, float] = {}
        for name in sorted(wanted):
            place = at / name.replace(" ", "-")
            place.mkdir()
            found[name] = await (_ours(disk, place) if name == OURS else _plain(flat, place))
        return found

    async def distributed(at: Path, wanted: frozenset[str]) -> Found:
        found: dict[str, float] = {}
        for name in sorted(wanted):
            place = at / name.replace(" ", "-")
            place.mkdir()
            found[name] = await _distributed(disk, size, KINDS[name], place)
        return found

    yield Work(frozenset({OURS, THEIRS}), ended), Work(frozenset(KINDS), distributed)


async def _customized(folder: Path, image: dict[str, str]) -> Disk:
    """A disk as a build leaves it: an overlay with something written, upon a platform image."""
    overlay = await create_overlay(Disk(Path(image["path"]), image["format"], read_only=True), folder / "vm.qcow2")
    await asyncio.to_thread(_run, "qemu-io", "-f", "qcow2", "-c", f"write -P 77 1G {WRITTEN_MIB}M", overlay.path)
    return overlay


def _run(*arguments: str | Path) -> None:
    subprocess.run(arguments, check=True, capture_output=True)


async def _ours(disk: Disk, folder: Path) -> float:
    """Seconds to flatten, hash and publish, with the wait until it is on disk."""
    begin = time.monotonic()
    flat = folder / "flat.qcow2"
    await convert(disk, flat, target_format="qcow2")
    await sealed(flat)
    publish_linked(flat, folder / "store" / "image", ["disk.qcow2"])
    return time.monotonic() - begin


async def _plain(flat: Path, folder: Path) -> float:
    """Seconds to copy and hash the same bytes, with the wait until they are on disk."""
    begin, copy = time.monotonic(), folder / "copy"
    for command in (("cp", "--sparse=always", flat, copy), ("sync", copy), ("sha256sum", copy)):
        await asyncio.to_thread(_run, *command)
    return time.monotonic() - begin


async def _distributed(disk: Disk, size_bytes: int, targets: list[dict[str, Any]], folder: Path) -> float:
    """Seconds that a run needs to distribute to these targets; the run around it is stood in for."""
    settings = Settings(folder / "home")
    settings.home.mkdir()
    (folder / "live").mkdir()
    template = ImageTemplate.model_validate(
        {"location": "l", "properties": {"source": SOURCE, "customize": [], "distribute": targets}}
    )
    with opened(settings.database) as store:
        store.runs.add(RunRow("r" * 36, "bench", "rg", {}, "Running", "", "", "", "", {}, utc_now(), None))  # type: ignore[arg-type]
        image = ContainerImage(folder, folder, folder, "digest", "1.6.6")
        staged: Any = SimpleNamespace(
            request=RunRequest("r" * 36, "bench", "rg", template, {}, NO_LOCAL_FILES),
            host=BuildHost(settings, store, Accelerator.TCG, "not asked", image, 2, 4096, None),
            group=SimpleNamespace(name="IT_x", storage_account=StorageAccount("a", folder / "staging")),
            directory=folder / "live",
            source=ResolvedSource(disk.path, "qcow2", "a" * 64, "1", 1, "Linux", size_bytes, "bench"),
            shape=SimpleNamespace(disk_bytes=size_bytes, cpus=1, memory_mib=1024),
            copies={},
            tell=lambda _event: None,
        )
        begin = time.monotonic()
        await distributing.distribute(staged, Disks(disk))
        return time.monotonic() - begin
