"""Distributing again, after the process of an earlier attempt died: nothing is published twice, nothing is missing."""

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from publishing import DEFINITION_ID, IMAGE_ID, RUN_ID, a_flat_disk

from vmkiln.azure_names import Architecture
from vmkiln.host.qemu import Accelerator, Disk
from vmkiln.images.container_image import ContainerImage
from vmkiln.images.data_disk import data_disks_of, file_beside
from vmkiln.images.image_store import remove
from vmkiln.run import distributing
from vmkiln.run.distributing import distribute
from vmkiln.run.run_context import BuildHost, Disks
from vmkiln.settings import Settings
from vmkiln.staging.storage_account import StorageAccount
from vmkiln.store.database import Store, opened, utc_now
from vmkiln.store.image_table import ImageTable
from vmkiln.store.rows import RunOutputRow, RunRow
from vmkiln.template.image_template import ImageTemplate

GALLERY = {
    "type": "SharedImage",
    "runOutputName": "gallery",
    "galleryImageId": DEFINITION_ID,
    "replicationRegions": ["a"],
}
MANAGED = {"type": "ManagedImage", "runOutputName": "managed", "imageId": IMAGE_ID, "location": "westeurope"}
VHD = {"type": "VHD", "runOutputName": "vhd"}
SOURCE = {"type": "PlatformImage", "publisher": "p", "offer": "o", "sku": "s", "version": "latest"}


NO_IMAGE = ContainerImage(Path("/none"), Path("/none"), Path("/none"), "digest", "1.6.6")


class Died(BaseException):
    """The process is gone."""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with opened(tmp_path / "db") as store:
        store.runs.add(RunRow(RUN_ID, "web", "rg", {}, "Running", "", "", "", "", {}, utc_now(), None))
        yield store


@pytest.fixture
def staged(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A run that has come to distributing, with as much as that needs; every attempt flattens other bytes."""
    facts = a_flat_disk(tmp_path)
    made: list[Path] = []

    async def convert(_disk: Disk, target: Path, *, target_format: str) -> None:
        target.unlink(missing_ok=True)
        shutil.copyfile(facts.flat, target)
        with target.open("ab") as file:
            file.write(bytes(len(made) + 1))
        made.append(target)

    async def virtual_size(_disk: Disk) -> int:
        return facts.virtual_size_bytes

    monkeypatch.setattr(distributing, "convert", convert)
    monkeypatch.setattr(distributing, "virtual_size", virtual_size)
    template = ImageTemplate.model_validate(
        {"location": "l", "properties": {"source": SOURCE, "customize": [], "distribute": [GALLERY, MANAGED, VHD]}}
    )
    settings, live = Settings(tmp_path), tmp_path / "live"
    live.mkdir()
    return SimpleNamespace(
        request=SimpleNamespace(run_id=RUN_ID, template=template, attempt=1, template_id=""),
        host=BuildHost(settings, store, Accelerator.TCG, "a stand-in", NO_IMAGE, 2, 4096, None),
        group=SimpleNamespace(name="IT_x", storage_account=StorageAccount("a", tmp_path / "staging")),
        directory=live,
        source=SimpleNamespace(generation=1, os_type="Linux", exact_version="12.1.0", architecture=Architecture.X64),
        shape=SimpleNamespace(disk_bytes=facts.virtual_size_bytes),
        tell=lambda _event: None,
    )


def attempt(staged: Any) -> list[RunOutputRow]:
    return asyncio.run(distribute(staged, Disks(Disk(Path("/nonexistent"), "qcow2"))))


@pytest.mark.parametrize("deaths", [1, 2, 3])
@pytest.mark.parametrize("is_recorded", [False, True])
def test_an_attempt_after_a_death_publishes_only_what_is_missing(
    staged: Any, store: Store, monkeypatch: pytest.MonkeyPatch, deaths: int, is_recorded: bool
) -> None:
    put = ImageTable.put_output
    left = [deaths]

    def put_or_die(self: ImageTable, row: RunOutputRow) -> None:
        if row.state == "Succeeded":
            left[0] -= 1
            if left[0] == 0:
                if is_recorded:
                    put(self, row)
                raise Died
        put(self, row)

    monkeypatch.setattr(ImageTable, "put_output", put_or_die)
    with pytest.raises(Died):
        attempt(staged)
    monkeypatch.setattr(ImageTable, "put_output", put)
    outputs = attempt(staged)
    assert [row.state for row in outputs] == ["Succeeded"] * 3
    assert [row.name for row in store.images.outputs_of(RUN_ID)] == ["gallery", "managed", "vhd"]
    published = store.images.of_run(RUN_ID)
    assert sorted(image.kind for image in published if image.kind != "VHD") == ["ManagedImage", "SharedImageVersion"]
    assert len({image.digest for image in published if image.format == "qcow2"}) == 1, "all targets got one image"
    assert outputs[0].artifact_id == f"{DEFINITION_ID}/versions/1.0.0"
    assert all(image.path.exists() for image in published)


def test_data_disks_go_to_every_target_also_after_a_death(staged: Any, store: Store) -> None:
    disks = Disks(Disk(Path("/nonexistent"), "qcow2"), {0: Disk(Path("/data"), "qcow2")})
    outputs = asyncio.run(distribute(staged, disks))
    assert [row.state for row in outputs] == ["Succeeded"] * 3
    published = store.images.of_run(RUN_ID)
    with_disks = [image for image in published if data_disks_of(image)]
    assert sorted(image.kind for image in with_disks) == ["ManagedImage", "SharedImageVersion"]
    assert all(file_beside(image.path, 0).is_file() for image in with_disks)
    assert len([image for image in published if image.format == "vhd"]) == 2
    lost = store.images.find(IMAGE_ID)
    assert lost is not None
    remove(lost, store)
    store.images.put_output(RunOutputRow(RUN_ID, "managed", "", "", "Creating", ""))
    shutil.rmtree(staged.directory)
    staged.directory.mkdir()
    asyncio.run(distribute(staged, disks))
    again = store.images.find(IMAGE_ID)
    assert again is not None
    assert data_disks_of(again) == data_disks_of(with_disks[0]), "the same disks as the other targets have"
    assert file_beside(again.path, 0).is_file()


def test_another_run_gets_another_version(staged: Any, store: Store) -> None:
    attempt(staged)
    other = "99999999-0000-0000-0000-000000000000"
    store.runs.add(RunRow(other, "web", "rg", {}, "Running", "", "", "", "", {}, utc_now(), None))
    staged.request.run_id = other
    assert attempt(staged)[0].artifact_id == f"{DEFINITION_ID}/versions/1.0.1"
