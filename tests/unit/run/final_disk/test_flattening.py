"""Flattening: one read of the chain for all targets, and nothing left of it when a gate fails."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from publishing import RUN_ID

from vmkiln.azure_names import Architecture
from vmkiln.host.disk.disk_image import convert, create_overlay, is_same
from vmkiln.host.qemu import Disk
from vmkiln.images.image_store import sha256_of
from vmkiln.images.vhd_image import read_vhd
from vmkiln.run.attesting import build_record
from vmkiln.run.distributing import distribute
from vmkiln.run.final_disk import flattening
from vmkiln.run.gates import hygiene_gate
from vmkiln.run.run_context import Disks
from vmkiln.run_failures import GeneralizationIncomplete
from vmkiln.settings import Settings
from vmkiln.staging.storage_account import StorageAccount
from vmkiln.store.database import opened, utc_now
from vmkiln.store.rows import RunRow
from vmkiln.template.image_template import ImageTemplate

KIB, MIB = 1024, 1024 * 1024
SIZE = 3 * MIB + 512 * KIB  # no whole MiB: a VHD is longer than the disk
MANAGED = {
    "type": "ManagedImage", "runOutputName": "m", "location": "l",
    "imageId": "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Compute/images/m",
}  # fmt: skip
VHDS = [{"type": "VHD", "runOutputName": name} for name in ("one", "two")]
SOURCE = {"type": "PlatformImage", "publisher": "p", "offer": "o", "sku": "s", "version": "latest"}


@pytest.fixture
def disks(tmp_path: Path) -> Disks:
    """A disk as a build leaves it: an overlay with something written, and a data disk."""
    base, overlay = tmp_path / "base.raw", tmp_path / "vm.qcow2"
    base.write_bytes(b"b" * MIB + bytes(SIZE - MIB))
    data = tmp_path / "vm-data-0.raw"
    data.write_bytes(b"d" * MIB)
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", overlay], check=True)
    subprocess.run(["qemu-io", "-f", "qcow2", "-c", "write -P 119 2M 64k", overlay], check=True, capture_output=True)
    return Disks(Disk(overlay, "qcow2", backing=Disk(base, "raw")), {0: Disk(data, "raw")})


@pytest.fixture
def staged(tmp_path: Path) -> Iterator[Any]:
    """A run with a managed image and two VHDs as its targets, that has come to its final disk."""
    template = ImageTemplate.model_validate(
        {"location": "l", "properties": {"source": SOURCE, "customize": [], "distribute": [MANAGED, *VHDS]}}
    )
    settings = Settings(tmp_path / "home")
    settings.home.mkdir()
    (tmp_path / "live").mkdir()
    told: list[Any] = []
    with opened(settings.database) as store:
        store.runs.add(RunRow(RUN_ID, "web", "rg", {}, "Running", "", "", "", "", {}, utc_now(), None))
        yield SimpleNamespace(
            request=SimpleNamespace(run_id=RUN_ID, template=template, attempt=1, template_id=""),
            host=SimpleNamespace(
                settings=settings, store=store, shared=None, container_image=SimpleNamespace(digest="image")
            ),
            group=SimpleNamespace(name="IT_x", storage_account=StorageAccount("a", tmp_path / "staging")),
            directory=tmp_path / "live",
            source=SimpleNamespace(
                generation=1,
                os_type="Linux",
                exact_version="1",
                architecture=Architecture.X64,
                origin="o",
                digest="d",
                data_disks=(),
            ),
            shape=SimpleNamespace(disk_bytes=SIZE),
            tell=told.append,
            told=told,
        )


async def test_the_chain_is_read_once_for_all_targets(
    staged: Any, disks: Disks, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    async def noting(disk: Disk, target: Path, *, target_format: str) -> None:
        read.append(f"{disk.path.name} to {target_format}")
        await convert(disk, target, target_format=target_format)

    monkeypatch.setattr(flattening, "convert", noting)
    facts = await flattening.prepared(staged, disks)
    assert read == ["vm.qcow2 to raw", "flat.vhd to qcow2", "vm-data-0.raw to raw", "flat-data-0.vhd to qcow2"]
    assert await is_same(disks.os, Disk(facts.flat, "qcow2"))
    assert await is_same(Disk(facts.flat, "qcow2"), disks.os), "it is as long, and has no footer in it"
    vhd = facts.vhds[facts.flat]
    assert (read_vhd(vhd.file).size_bytes, vhd.size_bytes) == (4 * MIB, 4 * MIB)
    assert await is_same(disks.os, Disk(vhd.file, "vpc"))
    assert (facts.digest, vhd.digest) == (sha256_of(facts.flat), sha256_of(vhd.file))
    assert await is_same(disks.data[0], Disk(facts.data_disks[0].beside(facts.flat), "qcow2"))


async def test_every_vhd_is_a_name_of_the_same_file(staged: Any, disks: Disks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_record, "documents_of", lambda _staged, _qemu: lambda _image: {})
    facts = await flattening.prepared(staged, disks)
    outputs = await distribute(staged, disks, facts)
    assert [row.state for row in outputs] == ["Succeeded"] * 3
    vhds = sorted((staged.group.storage_account.directory / "vhds").iterdir())
    assert len(vhds) == 4, "two of the OS disk, two of the data disk"
    assert {file.stat().st_ino for file in vhds} == {vhd.file.stat().st_ino for vhd in facts.vhds.values()}


async def test_what_was_flattened_is_deleted_when_a_gate_refuses_it(
    staged: Any, disks: Disks, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refusing(*_: Any, **__: Any) -> None:
        assert (staged.directory / "flat.qcow2").exists()
        raise GeneralizationIncomplete("the build's key is in it")

    monkeypatch.setattr(hygiene_gate, "searched", refusing)
    with pytest.raises(GeneralizationIncomplete):
        await flattening.prepared(staged, disks)
    assert list(staged.directory.iterdir()) == []


async def test_an_overlay_with_small_clusters_is_flattened_too(staged: Any, disks: Disks, tmp_path: Path) -> None:
    scrubbed = await create_overlay(disks.os, tmp_path / "scrubbed.qcow2", size_bytes=SIZE, cluster_bytes=4096)
    facts = await flattening.prepared(staged, Disks(scrubbed))
    assert await is_same(Disk(facts.flat, "qcow2"), disks.os)
