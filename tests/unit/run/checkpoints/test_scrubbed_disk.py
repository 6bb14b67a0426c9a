"""What was seen of the disk of a whole build goes with it, for that disk and that inspection VM, and is judged anew."""

import asyncio
import json
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vmkiln.errors import CommandFailed
from vmkiln.host.disk.disk_image import create_empty, create_overlay
from vmkiln.host.qemu import Accelerator, Disk
from vmkiln.host.saved import memory_file, saved_vm
from vmkiln.inspecting import kept_contents
from vmkiln.inspecting.answer import Answer
from vmkiln.inspecting.disk_contents import DiskContents
from vmkiln.inspecting.inspection import describe
from vmkiln.inspecting.residue import Found, Residue
from vmkiln.run.checkpoints import scrubbed_disk
from vmkiln.run.checkpoints.scrubbed_disk import MOST_TOLD_BYTES, OVERLAY, SEALED, TOLD
from vmkiln.run.gates import hygiene_gate
from vmkiln.run.run_context import Disks
from vmkiln.run.run_event import Notice, PartStarted
from vmkiln.run_failures import GeneralizationIncomplete
from vmkiln.run_state import PartKind, Start
from vmkiln.settings import Settings
from vmkiln.store.database import Store, opened
from vmkiln.warm import checkpoint


def record(kind: str, *fields: bytes) -> bytes:
    """One record as the inspection VM writes it."""
    head = " ".join([kind, str(len(fields)), *(str(len(field)) for field in fields)])
    return head.encode() + b"\n" + b"".join(fields) + b"\n"


VOLUME = record("volume", b"0", b"disk0-1", b"ext4", b"1000", b"400", b"u-u-i-d", b"root", b"")
TOLD_BYTES = record("disk", b"disk0", b"4096", b"gpt") + record("end")
WHOLE = checkpoint.About("command:0:rg/web", 3, "deprovision", "first", "web", 1.0, instance_id="")
KEY = "k" * 64
MIB = 1024**2


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with opened(tmp_path / "db") as store:
        yield store


def a_run(home: Path, store: Store, run_id: str, **facts: Any) -> Any:
    directory = home / run_id
    directory.mkdir()
    noted, told = dict(facts), list[Any]()
    staging = SimpleNamespace(add_resources=lambda *_, **__: [], resources_deleted=lambda _: None)
    runs = SimpleNamespace(
        add_facts=lambda _run, **added: noted.update(added), find=lambda _run: SimpleNamespace(facts=noted)
    )
    return SimpleNamespace(
        host=SimpleNamespace(
            settings=Settings(home=home),
            store=SimpleNamespace(runs=runs, seal=store.seal, staging=staging),
            container_image=SimpleNamespace(kernel=Path("/k"), inspector=Path("/i"), digest="of the image"),
            accelerator=Accelerator.TCG,
        ),
        group=SimpleNamespace(name="group", run_id=run_id),
        request=SimpleNamespace(run_id=run_id, template=SimpleNamespace(tags={})),
        source=SimpleNamespace(os_type="Linux"),
        directory=directory,
        tell=told.append,
        told=told,
        facts=noted,
    )


def an_answer(told: bytes = TOLD_BYTES) -> Answer:
    answer = Answer(most_told_bytes=MOST_TOLD_BYTES)
    answer.feed(told)
    return answer


async def disks_of(run: Any) -> tuple[Disk, Disk]:
    """A customized disk, and an overlay on it as the inspection VM would leave it."""
    customized = await create_empty(run.directory / "build-vm.qcow2", size_bytes=MIB)
    return customized, await create_overlay(customized, run.directory / "build-vm-scrubbed.qcow2", cluster_bytes=4096)


def keep_disk(home: Path, disk: Path, about: checkpoint.About = WHOLE, key: str = "1" * 64) -> Path:
    """Keep the disk of a whole build; returns the folder."""
    workplace = saved_vm.begun(Settings(home=home).saved_vms, key)
    (workplace / saved_vm.DISK).hardlink_to(disk)
    (workplace / saved_vm.MEMORY).touch()
    digest = memory_file.digest_of_file(workplace / saved_vm.MEMORY)
    saved_vm.finished(workplace, b"", digest, about=checkpoint.record_of(about))
    saved_vm.named(workplace)
    return Settings(home=home).saved_vms / key


async def kept(home: Path, store: Store, *, told: bytes = TOLD_BYTES) -> Path:
    """The folder of a kept disk with what was seen of it."""
    run = a_run(home, store, "first")
    customized, overlay = await disks_of(run)
    place = keep_disk(home, customized.path)
    await scrubbed_disk.keep(run, customized.path, overlay.path, an_answer(told), KEY)
    assert run.told == []
    return place


async def brought(home: Path, store: Store, place: Path, *, digest: str = "", run_id: str = "second") -> Any:
    """A run that took the kept disk, and what lies beside it."""
    run = a_run(home, store, run_id, checkpoint={"key": place.name})
    saved = saved_vm.found(place.parent, place.name)
    assert saved is not None
    saved_vm.copy_disk(saved, run.directory / "build-vm.qcow2")
    scrubbed_disk.bring(run, place, disk_digest=digest or saved.disk_digest)
    return run


async def taken(run: Any, key: str = KEY) -> tuple[Disk, DiskContents] | None:
    customized = Disk(run.directory / "build-vm.qcow2", "qcow2", size_bytes=MIB)
    return await scrubbed_disk.taken(run, customized, run.directory / "own.qcow2", key)


def lies_on(overlay: Path) -> str:
    asked = ["qemu-img", "info", "--output", "json", overlay]
    return str(json.loads(subprocess.run(asked, capture_output=True, check=True).stdout)["full-backing-filename"])


async def test_it_lies_on_the_runs_own_disk_and_what_was_told_is_read_anew(tmp_path: Path, store: Store) -> None:
    run = await brought(tmp_path, store, await kept(tmp_path, store))
    found = await taken(run)
    assert found is not None
    disk, contents = found
    assert [one.serial for one in contents.disks] == ["disk0"]
    assert (disk.path, disk.size_bytes) == (run.directory / "own.qcow2", MIB)
    assert lies_on(disk.path) == str(run.directory / "build-vm.qcow2")
    assert sorted(path.name for path in run.directory.iterdir()) == ["build-vm.qcow2", "own.qcow2"]
    assert run.told == []


@pytest.mark.parametrize("name", [OVERLAY, TOLD, SEALED])
async def test_a_changed_byte_has_the_run_look_for_itself(name: str, tmp_path: Path, store: Store) -> None:
    place = await kept(tmp_path, store)
    (place / name).chmod(0o600)
    content = bytearray((place / name).read_bytes())
    content[-1] ^= 1
    (place / name).unlink()
    (place / name).write_bytes(content)
    run = await brought(tmp_path, store, place)
    assert await taken(run) is None
    assert [path.name for path in run.directory.iterdir()] == ["build-vm.qcow2"]
    (said,) = run.told
    assert said.text.startswith("what was seen of the kept disk is not used: it ")


async def test_what_was_seen_of_another_disk_is_never_taken(tmp_path: Path, store: Store) -> None:
    run = await brought(tmp_path, store, await kept(tmp_path, store), digest="0" * 64)
    assert await taken(run) is None


async def test_another_inspection_vm_looks_for_itself(tmp_path: Path, store: Store) -> None:
    run = await brought(tmp_path, store, await kept(tmp_path, store))
    assert await taken(run, key="another") is None
    assert [path.name for path in run.directory.iterdir()] == ["build-vm.qcow2"], "nothing of it is left"


async def test_an_inspection_vm_is_another_with_another_image_or_machine() -> None:
    image: Any = SimpleNamespace(kernel=Path("/k"), inspector=Path("/i"))
    disks = [Disk(Path("/a"), "qcow2")]
    machine = describe(image, disks, accelerator=Accelerator.TCG, scrub=True)
    elsewhere = describe(image, [Disk(Path("/b"), "qcow2")], accelerator=Accelerator.TCG, scrub=True)
    looking = describe(image, disks, accelerator=Accelerator.TCG, scrub=False)
    own = await scrubbed_disk.key_of(machine, image_digest="d", cluster_bytes=4096)
    assert own == await scrubbed_disk.key_of(elsewhere, image_digest="d", cluster_bytes=4096)
    others = [
        await scrubbed_disk.key_of(machine, image_digest="e", cluster_bytes=4096),
        await scrubbed_disk.key_of(machine, image_digest="d", cluster_bytes=65536),
        await scrubbed_disk.key_of(looking, image_digest="d", cluster_bytes=4096),
        await scrubbed_disk.key_of(replace(machine, memory_mib=999), image_digest="d", cluster_bytes=4096),
    ]
    assert len({own, *others}) == 5


async def test_what_cannot_be_understood_any_more_is_told_and_not_taken(tmp_path: Path, store: Store) -> None:
    run = await brought(tmp_path, store, await kept(tmp_path, store))
    (run.directory / "kept-told").write_bytes(b"no stream")
    assert await taken(run) is None
    (said,) = run.told
    assert said.text.startswith("what was seen of the kept disk is not used: ")
    assert [path.name for path in run.directory.iterdir()] == ["build-vm.qcow2"]


async def test_a_program_that_fails_has_the_run_look_for_itself(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def failing(*_: object) -> None:
        raise CommandFailed(["qemu-img"], exit_status=1, output="", reason="no room")

    run = await brought(tmp_path, store, await kept(tmp_path, store))
    monkeypatch.setattr(scrubbed_disk, "rebase", failing)
    assert await taken(run) is None
    assert [one.is_warning for one in run.told] == [True]


@pytest.mark.parametrize(
    "more",
    [
        record("cut", b"0", b"var/deep", b"it could not be read"),
        record("content", b"0", b"etc/shadow", b"root:locked:1\nweb:set:1\n"),
    ],
    ids=["unread", "password"],
)
async def test_a_look_that_another_may_see_more_than_is_not_kept(more: bytes, tmp_path: Path, store: Store) -> None:
    """A busy machine, or one that could not read, has no say in later builds."""
    system = record("content", b"0", b"etc/os-release", b"ID=debian\n")
    whole = b"".join([record("disk", b"disk0", b"4096", b"gpt"), VOLUME, system])
    for number, (content, is_kept) in enumerate([(whole, True), (whole + more, False)]):
        home = tmp_path / str(number)
        home.mkdir()
        place = await kept(home, store, told=content + record("end"))
        assert (place / SEALED).exists() is is_kept


async def test_a_look_is_not_kept_where_nobody_knows_what_looks(
    of_the_gate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def failing(*_: object, **__: object) -> str:
        raise CommandFailed(["ldd"], exit_status=1, output="", reason="busy")

    monkeypatch.setattr(scrubbed_disk, "key_of", failing)
    with pytest.raises(AssertionError, match="the inspection VM was started"):
        await gate(of_the_gate, monkeypatch)
    assert of_the_gate.told[0].text.startswith("what is seen of the disk is not kept: ")


async def test_a_disk_that_nobody_keeps_has_nothing_kept_of_it(tmp_path: Path, store: Store) -> None:
    run = a_run(tmp_path, store, "first")
    customized, overlay = await disks_of(run)
    await scrubbed_disk.keep(run, customized.path, overlay.path, an_answer(), KEY)
    others = [replace(WHOLE, run_id="other"), replace(WHOLE, instance_id="of a VM")]
    for number, about in enumerate(others):
        keep_disk(tmp_path, customized.path, about, key=f"{number}" * 64)
    await scrubbed_disk.keep(run, customized.path, overlay.path, an_answer(), KEY)
    assert not list(Settings(home=tmp_path).saved_vms.glob(f"*/{SEALED}"))


async def test_an_earlier_attempts_disk_gets_nothing_of_a_later_one(tmp_path: Path, store: Store) -> None:
    run = a_run(tmp_path, store, "first")
    customized, overlay = await disks_of(run)
    earlier = await create_empty(run.directory / "earlier.qcow2", size_bytes=2 * MIB)
    place = keep_disk(tmp_path, earlier.path)
    await scrubbed_disk.keep(run, customized.path, overlay.path, an_answer(), KEY)
    assert not (place / SEALED).exists()


async def test_an_answer_without_an_end_or_that_is_too_long_is_not_kept(tmp_path: Path, store: Store) -> None:
    run = a_run(tmp_path, store, "first")
    customized, overlay = await disks_of(run)
    place = keep_disk(tmp_path, customized.path)
    for answer in (an_answer(TOLD_BYTES[:-8]), Answer(most_told_bytes=5)):
        await scrubbed_disk.keep(run, customized.path, overlay.path, answer, KEY)
    assert not (place / SEALED).exists()


async def test_what_is_pruned_while_it_is_kept_costs_no_build(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = a_run(tmp_path, store, "first")
    customized, overlay = await disks_of(run)
    place = keep_disk(tmp_path, customized.path)
    link = scrubbed_disk.link_or_copy

    def pruned(*files: Path) -> None:
        saved_vm.discard(saved_vm.found(place.parent, place.name))  # type: ignore[arg-type]
        link(*files)

    monkeypatch.setattr(scrubbed_disk, "link_or_copy", pruned)
    await scrubbed_disk.keep(run, customized.path, overlay.path, an_answer(), KEY)
    (said,) = run.told
    assert said.text.startswith("what was seen of the disk is not kept for later builds: ")
    assert not place.exists()


async def gate(run: Any, monkeypatch: pytest.MonkeyPatch, *, found: tuple[Found, ...] = ()) -> Disks:
    """The hygiene gate of a run that must not look at its disk."""

    async def nobody(*_: object, **__: object) -> None:
        raise AssertionError("the inspection VM was started")

    monkeypatch.setattr(hygiene_gate, "look_at", nobody)
    monkeypatch.setattr(hygiene_gate, "residues", lambda *_, **__: found)
    entered: Any = SimpleNamespace(staged=run, namespace=None)
    return await hygiene_gate.scrubbed(entered, Disks(Disk(run.directory / "build-vm.qcow2", "qcow2", size_bytes=MIB)))


@pytest.fixture
async def of_the_gate(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A run that took a disk of which the gate's own inspection VM has seen all."""

    async def key_of(*_: object, **__: object) -> str:
        return KEY

    monkeypatch.setattr(scrubbed_disk, "key_of", key_of)
    return await brought(tmp_path, store, await kept(tmp_path, store))


async def test_the_gate_judges_what_was_seen_and_looks_no_second_time(
    of_the_gate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    disks = await gate(of_the_gate, monkeypatch)
    assert disks.os.path == of_the_gate.directory / "build-vm-scrubbed.qcow2"
    assert of_the_gate.facts["hygiene"]["unproven"] == ["no operating system was found on the disks"]
    assert of_the_gate.told[0] == PartStarted(PartKind.GATE, "hygiene", Start.KEPT)
    assert isinstance(of_the_gate.told[1], Notice)
    seen = await asyncio.to_thread(kept_contents.kept, of_the_gate.directory)
    assert seen is not None
    assert [disk["serial"] for disk in seen.disks] == ["disk0"]


async def test_what_the_gate_refuses_today_is_refused_of_a_kept_disk(
    of_the_gate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(GeneralizationIncomplete, match="/etc/ssh/a"):
        await gate(of_the_gate, monkeypatch, found=(Found(Residue.HOST_KEYS, "/etc/ssh/a"),))
