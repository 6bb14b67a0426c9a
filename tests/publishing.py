"""What the tests of publishing share: a flattened disk, targets, and processes that start quickly."""

import asyncio
import hashlib
import multiprocessing
import multiprocessing.context
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from vmkiln.images import gallery, managed_image, vhd_image
from vmkiln.images.data_disk import DataDisk, file_beside
from vmkiln.images.gallery import GalleryTarget, Region
from vmkiln.images.image_store import Artifact, ImageFacts, seal
from vmkiln.store.database import Store

MIB = 1024 * 1024
COMPUTE = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Compute"
IMAGE_ID = f"{COMPUTE}/images/Web"
DEFINITION_ID = f"{COMPUTE}/galleries/G/images/Web"
VHD_ID = "/staging/IT_a/vhds/web.vhd"
RUN_ID = "0123abcd-0000-0000-0000-000000000000"


def a_flat_disk(
    directory: Path, *, run_id: str = RUN_ID, generation: int = 1, source_version: str = "12.20260102.30"
) -> ImageFacts:
    """A sealed qcow2 file of 3.5 MiB with some content, in the folder of a run."""
    folder = directory / "runs" / run_id
    folder.mkdir(parents=True)
    raw, flat = folder / "disk.raw", folder / "flat.qcow2"
    with raw.open("wb") as file:
        file.write(hashlib.sha256(run_id.encode()).digest() * 4096)
        file.truncate(7 * MIB // 2)
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, flat], check=True)
    seal(flat)
    digest = hashlib.sha256(flat.read_bytes()).hexdigest()
    return ImageFacts(flat, digest, 7 * MIB // 2, generation, "Linux", source_version, run_id)


def with_data_disks(facts: ImageFacts, *, luns: Sequence[int]) -> ImageFacts:
    """The same with sealed data disks of 2 MiB beside it, each with a content of its own."""
    disks = []
    for lun in luns:
        raw, file = facts.flat.with_name(f"data-{lun}.raw"), file_beside(facts.flat, lun)
        raw.write_bytes(bytes([lun + 1]) * MIB + bytes(MIB))
        subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, file], check=True)
        seal(file)
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        disks.append(DataDisk(lun, digest, file.stat().st_size, 2 * MIB))
    return replace(facts, data_disks=tuple(disks))


def a_gallery_target(
    gallery_image_id: str = DEFINITION_ID,
    *,
    scheme: str = "Latest",
    major: int = -1,
    regions: tuple[Region, ...] = (Region("westeurope", 2), Region("East US", 1)),
    exclude_from_latest: bool = False,
) -> GalleryTarget:
    return GalleryTarget(gallery_image_id, scheme, major, regions, exclude_from_latest, "Full", {"team": "web"})


def to_managed_image(directory: Path, store: Store, facts: ImageFacts, *, location: str = "westeurope") -> Artifact:
    images = directory / "images"
    return managed_image.publish(images, store, facts, image_id=IMAGE_ID, location=location, tags={"a": "b"})


def to_gallery(directory: Path, store: Store, facts: ImageFacts) -> Artifact:
    return gallery.publish(directory / "images", store, facts, a_gallery_target())


def to_vhd(directory: Path, store: Store, facts: ImageFacts) -> Artifact:
    file = directory / "vhds" / "web.vhd"
    return asyncio.run(vhd_image.publish(file, store, facts, artifact_id=VHD_ID, tags={"a": "b"}))


def warm_processes() -> multiprocessing.context.ForkServerContext:
    """Processes that have the slow modules loaded, so that many can be started, and can die, in a second."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pytest", gallery.__name__, managed_image.__name__, vhd_image.__name__])
    return context


PUBLISHERS = {"managed image": to_managed_image, "gallery": to_gallery, "vhd": to_vhd}
