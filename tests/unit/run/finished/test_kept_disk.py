"""The customized disk of a run: kept, gone on from, and deleted when nobody goes on from it."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vmkiln.azure_names import DISK
from vmkiln.errors import RunTakenOver, StorageFailed
from vmkiln.host.qemu import Accelerator, Disk
from vmkiln.images.container_image import ContainerImage
from vmkiln.images.data_disk import DataDisk
from vmkiln.images.image_store import ImageFacts, sha256_of
from vmkiln.receipts.receipt import receipts_of
from vmkiln.receipts.verification import verify
from vmkiln.run.customizing import VM_NAME
from vmkiln.run.finished import build_keys, kept_disk
from vmkiln.run.finished.finished_work import RESUMABLE, FinishedWork, record, recorded
from vmkiln.run.run_context import BuildHost, Disks, ResolvedSource, RunRequest
from vmkiln.run_state import Phase, RunState
from vmkiln.secrecy.secret_mask import SecretMask
from vmkiln.settings import Settings
from vmkiln.staging import run_directory
from vmkiln.staging.local_files import LocalFiles
from vmkiln.staging.login_key import new_key
from vmkiln.store.database import Store, opened, utc_now
from vmkiln.store.rows import RunRow

RUN_ID = "0123abcd-0000-0000-0000-000000000000"
GROUP = "IT_rg_web_1"
TEMPLATE_ID = "/subscriptions/s/resourcegroups/rg/templates/t"
RESOLVED = {"properties": {"source": {"type": "x"}, "customize": [{"inline": ["echo hunter22"]}]}}


class Kept:
    """A run that has customized a disk with a data disk, on a source with one."""

    def __init__(self, home: Path, store: Any) -> None:
        self.settings = Settings(home)
        image = ContainerImage(home, home, home, "digest", "1.6.6")
        self.host = BuildHost(self.settings, store, Accelerator.TCG, "no KVM", image, 2, 4096, None)
        self.directory = self.settings.runs / RUN_ID
        self.directory.mkdir(parents=True)
        below = self.directory / "source.qcow2"
        files = {"source.qcow2": b"below", "source-data-3.qcow2": b"below 3"}
        files |= {"build-vm.qcow2": b"customized", "build-vm-data-3.qcow2": b"customized 3"}
        for name, content in files.items():
            (self.directory / name).write_bytes(content)
        data = DataDisk(3, sha256_of(self.directory / "source-data-3.qcow2"), 7, 1024)
        source = ResolvedSource(below, "qcow2", sha256_of(below), "1.2.3", 1, "Linux", 1024, "x", data_disks=(data,))
        self.source = source
        self.request = RunRequest(RUN_ID, "web", "rg", SimpleNamespace(), RESOLVED, LocalFiles(home, is_allowed=False))  # type: ignore[arg-type]
        self.disks = Disks(Disk(self.directory / "build-vm.qcow2", "qcow2", backing=source.disks.os))
        over = Disk(self.directory / "build-vm-data-3.qcow2", "qcow2", backing=source.disks.data[3])
        self.disks = replace(self.disks, data={3: over})

    def keep(self) -> FinishedWork:
        staged: Any = SimpleNamespace(
            host=self.host,
            request=self.request,
            source=self.source,
            shape=SimpleNamespace(disk_bytes=2048),
            group=SimpleNamespace(name=GROUP),
            directory=self.directory,
        )
        return asyncio.run(kept_disk.keep(staged, self.disks))

    def found(self, **changes: Any) -> FinishedWork | None:
        return asyncio.run(kept_disk.finished_before(self.host, replace(self.request, **changes)))

    @property
    def folders(self) -> list[str]:
        folder = run_directory.kept(self.settings.runs)
        return [path.name for path in folder.iterdir()] if folder.exists() else []


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    with opened(tmp_path / "db") as store:
        row = RunRow(RUN_ID, "web", "rg", {}, RunState.RUNNING, "", "", "", "", {}, utc_now(), None, TEMPLATE_ID)
        store.runs.add(row)
        made = Kept(tmp_path / "home", store)
        made.request = replace(made.request, template_id=TEMPLATE_ID)
        yield made


def test_what_was_kept_is_gone_on_from_under_the_same_names(kept: Kept) -> None:
    (kept.directory / f"{VM_NAME}-seed.iso").write_text(new_key("host").private)
    made = kept.keep()
    assert kept.found() == replace(made, source=replace(made.source, path=Path()))
    next_one = kept.settings.runs / f"{RUN_ID}.2"
    next_one.mkdir()
    work = kept.found(attempt=2)
    assert work is not None
    run_directory.remove(kept.directory)  # as the end of the first attempt does
    kept_disk.lay_out(kept.settings, work, next_one)
    disks = work.disks(next_one)
    assert disks.os.path.read_bytes() == b"customized"
    assert (next_one / build_keys.FILE).exists()
    assert disks.os.backing is not None
    assert disks.os.backing.path.read_bytes() == b"below"
    assert disks.os.size_bytes == 2048
    assert disks.data[3].path.read_bytes() == b"customized 3"
    assert disks.data[3].backing is not None
    assert disks.data[3].backing.path.read_bytes() == b"below 3"


def test_a_disk_is_recorded_only_when_all_of_it_is_on_disk(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []

    def sync(path: Path) -> None:
        assert kept.host.store.runs.find(RUN_ID).facts.get("finished") is None
        synced.append(path.name)

    monkeypatch.setattr("vmkiln.images.image_store.sync", sync)
    monkeypatch.setattr(kept_disk, "sync", sync)
    kept.keep()
    overlays = {"build-vm.qcow2", "build-vm-data-3.qcow2"}
    assert {*synced} >= overlays | {"source.qcow2", "source-data-3.qcow2", RUN_ID}


def test_a_disk_that_cannot_be_synced_is_not_kept(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_path: Path) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(kept_disk, "sync", fail)
    with pytest.raises(StorageFailed):
        kept.keep()
    assert kept.folders == []
    assert kept.found() is None


def test_a_host_that_lost_the_run_records_nothing_and_keeps_nothing(kept: Kept) -> None:
    kept.host = replace(kept.host, store=kept.host.store.fenced(RUN_ID, incarnation="gone"))
    with pytest.raises(RunTakenOver):
        kept.keep()
    assert kept.folders == []


@pytest.mark.parametrize("name", ["build-vm.qcow2", "build-vm-data-3.qcow2", "source.qcow2", "source-data-3.qcow2"])
def test_a_disk_that_lost_a_byte_is_customized_anew(kept: Kept, name: str) -> None:
    file = run_directory.kept(kept.settings.runs) / kept.keep().disk["folder"] / name
    file.chmod(0o600)
    file.write_bytes(file.read_bytes()[:-1])
    assert kept.found() is None
    assert kept.host.store.runs.find(RUN_ID).facts["finished"] is None
    kept_disk.forget(kept.settings, kept.host.store, RUN_ID)
    assert kept.folders == []


@pytest.mark.parametrize("name", ["build-vm.qcow2", "build-vm-data-3.qcow2", "source.qcow2", "source-data-3.qcow2"])
def test_after_a_reboot_every_byte_counts(kept: Kept, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    file = run_directory.kept(kept.settings.runs) / kept.keep().disk["folder"] / name
    monkeypatch.setattr(kept_disk, "boot_id", lambda: "another")
    assert kept.found() is not None
    file.chmod(0o600)
    file.write_bytes(file.read_bytes().replace(file.read_bytes()[:1], b"?"))
    assert kept.found() is None


def test_another_hosts_disk_and_another_templates_do_not_count(kept: Kept) -> None:
    work = kept.keep()
    elsewhere = replace(work, disk={**work.disk, "host_id": "another"})
    record(kept.host.store, RUN_ID, elsewhere)
    assert kept.found() is None
    record(kept.host.store, RUN_ID, work)
    assert kept.found(resolved={"properties": {"source": {"type": "y"}}}) is None
    record(kept.host.store, RUN_ID, work)
    assert kept.found(resolved={"properties": {**RESOLVED["properties"], "distribute": []}}) is not None


def test_an_image_in_the_object_store_counts_on_every_host(kept: Kept) -> None:
    work = kept.keep()
    image = ImageFacts(Path(), "d", 2048, 1, "Linux", "1.2.3", RUN_ID, shared_object="images/x")
    record(kept.host.store, RUN_ID, replace(work, disk={**work.disk, "host_id": "another"}, image=image))
    kept.host = replace(kept.host, shared=SimpleNamespace())  # type: ignore[arg-type]
    found = kept.found()
    assert found is not None
    assert found.image == image


def test_a_kept_disk_lasts_as_long_as_its_run(kept: Kept) -> None:
    store, settings = kept.host.store, kept.settings
    kept.keep()
    (run_directory.kept(settings.runs) / f"{RUN_ID}.7").mkdir()
    (run_directory.kept(settings.runs) / "unknown").mkdir()
    kept_disk.forget_unwanted(settings, store)
    assert kept.folders == [RUN_ID]
    store.runs.requeue(RUN_ID, most_attempts=9)
    kept_disk.forget_unwanted(settings, store)
    assert kept.folders == [RUN_ID]
    with run_directory.locked(settings.runs, RUN_ID):
        (run_directory.kept(settings.runs) / f"{RUN_ID}.2").mkdir()
        kept_disk.forget_unwanted(settings, store)
        assert sorted(kept.folders) == [RUN_ID, f"{RUN_ID}.2"], "its run may be about to record it"
    store.runs.move(RUN_ID, expected=[RunState.QUEUED], state=RunState.CANCELED)
    kept_disk.forget_unwanted(settings, store)
    assert kept.folders == []


def test_a_killed_builds_disk_is_kept_for_its_user_for_a_day(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    store, settings = kept.host.store, kept.settings
    kept.request = replace(kept.request, template_id="")
    kept.keep()
    store.runs.forget_template(TEMPLATE_ID)
    store.runs.end_lost(store.runs.find(RUN_ID), most_attempts=9)
    assert store.runs.find(RUN_ID).error_code == "RunLost"
    kept_disk.forget_unwanted(settings, store)
    assert kept.folders == [RUN_ID]
    monkeypatch.setattr(kept_disk, "utc_now", lambda: utc_now() + RESUMABLE + timedelta(seconds=1))
    kept_disk.forget_unwanted(settings, store)
    assert kept.folders == []


def test_no_secret_is_in_the_record(kept: Kept) -> None:
    made = kept.keep().made_of
    other = {"properties": {**RESOLVED["properties"], "customize": [{"inline": ["echo hunter33"]}]}}
    mask = SecretMask.of(["hunter22", "hunter33"])
    assert kept.found(mask=mask) is None, "it is another digest"
    kept.request = replace(kept.request, mask=mask)
    for path in run_directory.kept(kept.settings.runs).iterdir():
        run_directory.remove(path)
    masked = kept.keep().made_of
    assert masked != made
    assert kept.found(resolved=other) is not None, "what is masked is in no digest"
    run = kept.host.store.runs.find(RUN_ID)
    assert recorded(run) is not None


def test_a_kept_disk_has_its_receipt_when_it_is_deleted(kept: Kept) -> None:
    store, settings = kept.host.store, kept.settings
    store.staging.add_group(GROUP, run_id=RUN_ID, storage_account="a", tags={})
    store.runs.begin_phase(RUN_ID, Phase.BUILDING)
    for name in ("build-vm.qcow2", "build-vm-data-3.qcow2", "validation-vm.qcow2"):
        path = str(kept.directory / name)
        number = store.staging.add_resource(GROUP, run_id=RUN_ID, type=DISK, name=name, detail={"path": path})
        store.staging.resource_deleted(number)
    kept.keep()
    run_directory.remove(kept.directory)
    verify(settings, store, RUN_ID)
    assert without_receipt(store) == ["build-vm.qcow2", "build-vm-data-3.qcow2"]
    store.runs.move(RUN_ID, expected=[RunState.RUNNING], state=RunState.SUCCEEDED)
    kept_disk.forget(settings, store, RUN_ID)
    assert without_receipt(store) == []


def without_receipt(store: Store) -> list[str]:
    return [found.name for found in receipts_of(store, RUN_ID) if found.verified_gone is None]
