"""The hygiene gate: what is found fails the run with the list, what is allowed is told, the verdict is kept."""

import asyncio
import contextlib
import os
import threading
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vmkiln.host.qemu import Disk
from vmkiln.inspecting import byte_search
from vmkiln.inspecting.disk_contents import DiskContents, DiskFound, Volume
from vmkiln.inspecting.residue import Allowed, Found, Residue
from vmkiln.run.customizing import VM_NAME
from vmkiln.run.gates import hygiene_gate
from vmkiln.run.gates.hygiene_gate import MOST_LETTERS, MOST_NAMED, MOST_UNPROVEN, Verdict, searched
from vmkiln.run.run_context import Disks
from vmkiln.run.run_event import Notice, PartStarted
from vmkiln.run_failures import GeneralizationIncomplete, InspectionFailed
from vmkiln.run_state import PartKind
from vmkiln.staging.login_key import new_key
from vmkiln.windows import answer_disc
from vmkiln.windows.answer_disc import GuestAddress
from vmkiln.windows.answer_file import Answer
from vmkiln.windows.run_login import new_login

KEY = new_key("host")
KEYS = [Found(Residue.HOST_KEYS, "/etc/ssh/a"), Found(Residue.HISTORY, "/root/.bash_history")]


class Runs:
    """The facts of one run, as the database keeps them."""

    def __init__(self, **facts: Any) -> None:
        self.facts = facts

    def find(self, _: str) -> Any:
        return SimpleNamespace(facts=self.facts)

    def add_facts(self, _: str, **facts: Any) -> None:
        self.facts |= facts


class Staging:
    """The staging resource group, as the database keeps it: the names of what is there, and of what was."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.there: set[int] = set()

    def add_resources(self, _: str, *, entries: Any, **__: Any) -> list[int]:
        numbers = []
        for _type, name, _detail in entries:
            self.names.append(name)
            numbers.append(len(self.names))
        self.there.update(numbers)
        return numbers

    def resources_deleted(self, numbers: list[int]) -> None:
        self.there.difference_update(numbers)


def a_run(folder: Path, *, allowed: str = "", tags: dict[str, str] | None = None, **facts: Any) -> Any:
    told: list[Notice] = []
    settings = SimpleNamespace(allowed_residues=allowed, saved_vms=folder / "saved-vms")
    return SimpleNamespace(
        host=SimpleNamespace(settings=settings, store=SimpleNamespace(runs=Runs(**facts), staging=Staging())),
        group=SimpleNamespace(name="IT_a", run_id="run"),
        request=SimpleNamespace(run_id="run", template=SimpleNamespace(tags=tags or {})),
        directory=folder,
        source=SimpleNamespace(os_type="Linux"),
        tell=told.append,
        told=told,
    )


def test_what_is_left_fails_the_run_with_every_place(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    with pytest.raises(GeneralizationIncomplete) as refused:
        hygiene_gate._judged(run, KEYS, Allowed(), told=["a token"], unproven=())
    assert run.told == [Notice("in the image: a token")], "all of it is told, so that one more build is enough"
    assert "host-keys: /etc/ssh/a; history: /root/.bash_history" in refused.value.message
    assert "history, host-keys" in (refused.value.hint or "")


def test_what_is_allowed_stays_and_is_told(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    may_stay = Allowed(frozenset({Residue.HOST_KEYS, Residue.HISTORY}))
    fact = hygiene_gate._judged(run, KEYS, may_stay, told=["a key"], unproven=())
    assert (fact["verdict"], fact["allowed"]) == (Verdict.RELAXED, ["history", "host-keys"])
    assert [notice.is_warning for notice in run.told] == [False, True]


def test_what_could_not_be_read_is_never_called_clean(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    fact = hygiene_gate._judged(run, (), Allowed(), told=(), unproven=["disk0-1 (luks): luks is not read"])
    assert fact["verdict"] == Verdict.UNPROVEN
    assert run.told == [Notice("not proven clean: disk0-1 (luks): luks is not read", is_warning=True)]


async def test_of_a_million_places_that_could_not_be_read_few_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = tuple((b"x" * 4000 + b"/%d" % number, "it could not be read") for number in range(MOST_UNPROVEN + 7))
    contents = DiskContents((DiskFound("os", 1, "gpt"),), (Volume("os1", "ext4", 1, 1, cut=cut),))
    read_by: list[threading.Thread] = []

    def none_left(*_: object, **__: object) -> tuple[Found, ...]:
        read_by.append(threading.current_thread())
        return ()

    monkeypatch.setattr(hygiene_gate, "residues", none_left)
    staged = await looked_at(contents, tmp_path, monkeypatch)
    unproven = staged.host.store.runs.facts["hygiene"]["unproven"]
    assert len(unproven) == MOST_UNPROVEN + 2
    assert all(len(one) <= MOST_LETTERS for one in unproven)
    assert unproven[0].endswith("x/0: it could not be read")
    assert unproven[-2] == "7 more places that could not be read"
    assert threading.main_thread() not in read_by, "the event loop does not wait for it"


async def test_a_disk_that_was_not_seen_is_unproven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = Volume("os1", "ext4", 1, 1, contents={b"etc/os-release": b"ID=debian\n"})
    for found, unproven in (((), ["the inspection VM saw 0 of 1 disks"]), ((DiskFound("os", 1, "gpt"),), [])):
        staged = await looked_at(DiskContents(found, (root,)), tmp_path, monkeypatch)
        assert staged.host.store.runs.facts["hygiene"]["unproven"] == unproven


def test_of_very_much_that_may_stay_few_places_are_told(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    found = [Found(Residue.CLOUD_INIT, f"/var/lib/cloud/data/{number}") for number in range(MOST_NAMED + 5)]
    hygiene_gate._judged(run, found, Allowed(frozenset({Residue.CLOUD_INIT})), told=(), unproven=())
    assert run.told[0].text.endswith(f"/{MOST_NAMED - 1}; and 5 more")


CLEAN = {"verdict": "Clean", "allowed": [], "told": [], "unproven": []}


async def test_a_key_of_the_build_in_free_blocks_fails_the_run(tmp_path: Path) -> None:
    (tmp_path / f"{VM_NAME}-seed.iso").write_text(KEY.private)
    flat = tmp_path / "flat.qcow2"
    flat.write_text(KEY.private.splitlines()[3])
    with pytest.raises(GeneralizationIncomplete, match="run-secrets: the build VM's private host key"):
        await searched(a_run(tmp_path, hygiene=CLEAN), [flat], digest="d")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le"])
async def test_the_password_of_a_windows_run_in_free_space_fails_it(tmp_path: Path, encoding: str) -> None:
    login = new_login(["10.0.1.4"], now=datetime(2026, 11, 29, tzinfo=UTC))
    address = GuestAddress("00:00:00:00:00:01", "10.0.1.4", 24, "10.0.1.1", "10.0.2.53", "10.0.0.4")
    disc = answer_disc.contents(Answer(login), address, instance_id="i")
    (tmp_path / f"{VM_NAME}-seed.iso").write_text(str(disc["run.json"]))
    flat = tmp_path / "flat.qcow2"
    for text, is_there in (("nothing", False), (login.password, True)):
        flat.write_bytes(b"deleted" + text.encode(encoding) + b"bytes")
        with pytest.raises(GeneralizationIncomplete, match="user") if is_there else contextlib.nullcontext():
            await searched(a_run(tmp_path, hygiene=CLEAN), [flat], digest="d")


async def test_the_search_goes_no_further_when_nobody_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(byte_search, "BLOCK_BYTES", 4096)
    (tmp_path / f"{VM_NAME}-seed.iso").write_text(KEY.private)
    flat = tmp_path / "flat.qcow2"
    flat.write_bytes(b"x" * 100 * 4096)
    reading, may_go_on, read = asyncio.Event(), threading.Event(), []
    loop = asyncio.get_running_loop()

    def pread(descriptor: int, size: int, position: int) -> bytes:
        read.append(position)
        loop.call_soon_threadsafe(reading.set)
        assert may_go_on.wait(30)
        return os.read(descriptor, size)

    monkeypatch.setattr(byte_search, "os", SimpleNamespace(pread=pread, fstat=os.fstat))
    search = asyncio.create_task(searched(a_run(tmp_path, hygiene=CLEAN), [flat], digest="d"))
    await reading.wait()
    search.cancel()
    await asyncio.sleep(0)
    may_go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await search
    assert read == [0], "the flattened disk is deleted by now"


async def test_the_verdict_is_kept_with_the_disks_digest(tmp_path: Path) -> None:
    (tmp_path / f"{VM_NAME}-seed.iso").write_text(KEY.private)
    flat = tmp_path / "flat.qcow2"
    flat.write_text("nothing")
    run = a_run(tmp_path, hygiene=CLEAN)
    await searched(run, [flat], digest="d")
    assert run.host.store.runs.facts["hygiene"] == {**CLEAN, "digest": "d"}


async def test_without_the_builds_keys_the_bytes_are_unproven(tmp_path: Path) -> None:
    flat = tmp_path / "flat.qcow2"
    flat.write_text("nothing")
    run = a_run(tmp_path, hygiene=CLEAN)
    await searched(run, [flat], digest="d")
    assert run.host.store.runs.facts["hygiene"]["verdict"] == Verdict.UNPROVEN


@pytest.mark.parametrize("run", [{"allowed": "all"}, {"tags": {"vmkiln-residues": "all"}}])
async def test_who_allows_everything_has_no_look_at_the_image(tmp_path: Path, run: dict[str, Any]) -> None:
    staged = a_run(tmp_path, **run)
    disks: Any = object()
    assert await hygiene_gate.scrubbed(SimpleNamespace(staged=staged), disks) is disks  # type: ignore[arg-type]
    assert staged.host.store.runs.facts["hygiene"]["verdict"] == Verdict.SKIPPED
    await searched(staged, [tmp_path / "not there"], digest="d")


async def looked_at(contents: DiskContents, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A run behind the gate, with an inspection VM that found this."""
    staged, disks = a_run(folder), Disks(Disk(folder / "disk", "qcow2"))
    staged.host.container_image = staged.host.accelerator = None

    async def given(found: object) -> Any:
        return found

    monkeypatch.setattr(hygiene_gate, "_overlays", lambda *_: given(disks))
    monkeypatch.setattr(hygiene_gate, "describe", lambda *_, **__: None)
    monkeypatch.setattr(hygiene_gate, "look_at", lambda *_, **__: given(contents))
    await hygiene_gate.scrubbed(SimpleNamespace(staged=staged, namespace=None), disks)  # type: ignore[arg-type]
    return staged


async def test_the_look_is_a_part_of_the_runs_timeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    staged, disks = a_run(tmp_path), Disks(Disk(tmp_path / "disk", "qcow2"))
    staged.host.container_image = staged.host.accelerator = None

    async def overlays(*_: object) -> Disks:
        return disks

    async def looked(*_: object, **__: object) -> DiskContents:
        assert staged.told == [PartStarted(PartKind.GATE, "hygiene")]
        return DiskContents((), ())

    monkeypatch.setattr(hygiene_gate, "_overlays", overlays)
    monkeypatch.setattr(hygiene_gate, "describe", lambda *_, **__: None)
    monkeypatch.setattr(hygiene_gate, "look_at", looked)
    entered: Any = SimpleNamespace(staged=staged, namespace=None)
    assert await hygiene_gate.scrubbed(entered, disks) is disks
    assert staged.host.store.runs.facts["hygiene"]["verdict"] == Verdict.UNPROVEN


@pytest.mark.parametrize("fails", [False, True])
async def test_the_inspection_vm_and_its_disks_have_receipts(
    fails: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    staged, disk = a_run(tmp_path), Disk(tmp_path / "disk", "qcow2")
    disks = Disks(disk, {3: disk})
    staged.host.container_image = staged.host.accelerator = None

    async def overlays(*_: object) -> Disks:
        return disks

    async def looked(*_: object, **__: object) -> DiskContents:
        assert len(staged.host.store.staging.there) == 3
        if fails:
            raise InspectionFailed("it did not end")
        return DiskContents((), ())

    monkeypatch.setattr(hygiene_gate, "_overlays", overlays)
    monkeypatch.setattr(hygiene_gate, "describe", lambda *_, **__: None)
    monkeypatch.setattr(hygiene_gate, "look_at", looked)
    entered: Any = SimpleNamespace(staged=staged, namespace=None)
    with pytest.raises(InspectionFailed) if fails else contextlib.nullcontext():
        await hygiene_gate.scrubbed(entered, disks)
    group = staged.host.store.staging
    assert group.names == ["inspection-vm-os-disk", "inspection-vm-data-disk-3", "inspection-vm"]
    assert not group.there
