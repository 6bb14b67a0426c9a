"""A VM is kept while Packer waits, and goes on however that ends; nothing without a name is left."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vmkiln.files import locks
from vmkiln.host.saved import saved_vm, whole_vm
from vmkiln.packer.packer_template import InlineShell
from vmkiln.run.checkpoints import keeping, waiting_guest
from vmkiln.run.checkpoints.keeping import Keeper
from vmkiln.run.checkpoints.kept_builds import KeptBuild
from vmkiln.run.checkpoints.prefix import Content, Position, positions
from vmkiln.run_failures import VirtualMachineLost, VirtualMachineNotSaved
from vmkiln.secrecy.secret_mask import NO_SECRETS, SecretMask
from vmkiln.settings import Settings
from vmkiln.warm import checkpoint

BUILD = KeptBuild((Position(1, "a" * 64, "one"), Position(2, "b" * 64, "two")), scope="command:0:rg/web", token="t")


ONE, TWO = "1" * 16, "2" * 16  # names that the guest drew


class Reached(asyncio.Queue[tuple[int, str]]):
    """The checkpoints that Packer has reached; `is_done` when the keeper asks for one more than there are."""

    def __init__(self) -> None:
        super().__init__()
        self.is_done = asyncio.Event()

    async def get(self) -> tuple[int, str]:
        if self.empty():
            self.is_done.set()
        return await super().get()


def says(*texts: str) -> bytes:
    """What the guest's program writes on the console."""
    return "".join(f"\r\nvmkiln-renewal: {text}\r\n" for text in texts).encode()


class Stage:
    """A keeper, a VM that says what it is told to, and what was said and written."""

    def __init__(self, home: Path) -> None:
        self.settings = Settings(home=home)
        self.folder = self.settings.saved_vms
        self.said: list[str] = []
        self.seed, self.disk = home / "seed", home / "disk"
        self.seed.write_bytes(bytes(32768))
        self.disk.write_bytes(b"overlay")
        self.vm: Any = SimpleNamespace(
            name="build-vm", console=bytearray(), ended=asyncio.get_running_loop().create_future()
        )
        self.keeper = Keeper(
            BUILD, self.settings, self.seed, self.disk, "source", "run", "web", "instance", 1, self.said.append
        )

    @property
    def word(self) -> str:
        return self.seed.read_bytes()[16384:20480].rstrip(b"\0").decode()

    @property
    def kept(self) -> list[int]:
        return sorted(one.about.position for one in checkpoint.all_of(self.folder))

    @property
    def folders(self) -> list[str]:
        return [path.name for path in self.folder.iterdir() if path.is_dir()]

    async def reach(self, *numbers: int, names: Sequence[str] = ()) -> None:
        """Packer reaches these checkpoints, under `ONE` and `TWO`; returns when the last one's sentence was said."""
        queue = Reached()
        for number, name in zip(numbers, names or [str(number) * 16 for number in numbers], strict=True):
            queue.put_nowait((number, name))
        working = asyncio.create_task(self.keeper.at_each(None, queue, self.vm))  # type: ignore[arg-type]
        done = asyncio.create_task(queue.is_done.wait())
        await asyncio.wait([working, done], return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            await working
        working.cancel()
        await asyncio.gather(working, done, return_exceptions=True)


@pytest.fixture
async def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    async def saved(_inside: Any, _vm: Any, workplace: Path, **noted: Any) -> None:
        (workplace / saved_vm.MEMORY).write_bytes(b"ram")
        saved_vm.copied_file(noted["disk"], workplace / saved_vm.DISK)
        await noted["when_copied"]()
        saved_vm.finished(workplace, b"devices", "digest", source=noted["source"], about=noted["about"])

    monkeypatch.setattr(whole_vm, "saved_and_goes_on", saved)
    monkeypatch.setattr(keeping, "SPARE_MIB", 0)
    return Stage(tmp_path)


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    async def saved(_inside: Any, _vm: Any, workplace: Path, **_noted: Any) -> None:
        (workplace / saved_vm.MEMORY).write_bytes(b"half")
        raise error

    monkeypatch.setattr(whole_vm, "saved_and_goes_on", saved)


async def test_the_vm_is_kept_under_its_key_and_then_told_to_go_on(stage: Stage) -> None:
    stage.vm.console += says(f"ready {ONE}", f"ready {TWO}")
    await stage.reach(1, 2)
    assert stage.kept == [1, 2]
    assert [text.rpartition(" (")[0] for text in stage.said] == [
        f"what the build-vm has come to behind `{step}` is kept for later builds" for step in ("one", "two")
    ]
    assert stage.word == f"t {TWO}"
    hit = checkpoint.found(stage.folder, "b" * 64, BUILD.scope, most_age_seconds=3600, now=2**40)
    assert hit is None, "it is not from the future"
    (one, _) = checkpoint.all_of(stage.folder)
    assert (one.about.run_id, one.about.template, one.about.instance_id) == ("run", "web", "instance")
    saved_vm.discard_of(stage.folder, "source")
    assert stage.kept == [], "it goes with the image that it began from"


async def test_what_began_behind_a_checkpoint_is_as_old_as_that_one(stage: Stage) -> None:
    old = time.time() - 23 * 3600
    stage.keeper = replace(stage.keeper, build=replace(BUILD, since=old))
    stage.vm.console += says(f"ready {TWO}")
    await stage.reach(2)
    (one,) = checkpoint.all_of(stage.folder)
    assert one.about.made == old, "or what its first customizers did would never get too old"


async def test_what_no_guest_says_is_not_taken_for_a_name(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting_guest, "READY_SECONDS", 0.05)
    stage.vm.console += says("ready ../../x", "ready 1", f"ready {ONE}0") + f"vmkiln-renewal: ready {ONE}".encode()
    await stage.reach(1)
    assert stage.kept == []
    assert stage.said == ["what the build-vm has come to behind `one` is not kept: it took too long"]


async def test_a_vm_that_waits_at_a_later_step_is_not_kept_behind_an_earlier(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The VM restarted before it waited behind the first; Packer's word of the second may come late."""
    monkeypatch.setattr(waiting_guest, "READY_SECONDS", 0.05)
    stage.vm.console += says(f"ready {TWO}")
    await stage.reach(1)
    assert stage.kept == [], "it has what the second step did"
    assert stage.word == "", "and waits for its own word"
    await stage.reach(2)
    assert stage.kept == [2]


async def test_what_a_guest_says_without_an_end_is_forgotten(stage: Stage) -> None:
    guest = waiting_guest.WaitingGuest(stage.vm, stage.seed, "t")
    for number in range(50):
        stage.vm.console[:] = says(f"ready {number:016}")
        await guest._let_late_ones_go()
    assert list(guest._seen) == [f"{49:016}"]


async def test_a_script_that_packer_ran_once_more_is_kept_once_and_goes_on_twice(stage: Stage) -> None:
    stage.vm.console += says(f"ready {ONE}", f"ready {TWO}")
    await stage.reach(1, 1, names=(ONE, TWO))
    assert stage.kept == [1]
    assert len(stage.said) == 1
    assert stage.word == f"t {TWO}"


async def test_a_guest_that_waits_where_nobody_awaits_it_goes_on(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting_guest, "LATE_SECONDS", 0)
    monkeypatch.setattr(waiting_guest, "LATE_LOOK_SECONDS", 0.01)
    stage.vm.console += says(f"ready {ONE}")
    working = asyncio.create_task(stage.keeper.at_each(None, asyncio.Queue(), stage.vm))  # type: ignore[arg-type]
    async with asyncio.timeout(60):
        while stage.word != f"t {ONE}":  # noqa: ASYNC110 (a file tells it)
            await asyncio.sleep(0.01)
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
    assert stage.kept == []


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(28, "No space left on device"), "No space left on device"),
        (VirtualMachineNotSaved("the build-vm could not be saved: no"), "the build-vm could not be saved: no"),
    ],
)
async def test_what_cannot_be_saved_is_told_and_nothing_of_it_is_left(
    error: BaseException, reason: str, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, error)
    stage.vm.console += says(f"ready {ONE}")
    await stage.reach(1)
    assert reason in stage.said[0]
    assert stage.word == f"t {ONE}"
    assert stage.folders == []


async def test_a_guest_in_which_no_program_began_keeps_no_later_one_waiting(stage: Stage) -> None:
    def say_in_time(text: str) -> None:
        stage.said.append(text)
        stage.vm.console += says(f"ready {TWO}")

    stage.keeper = replace(stage.keeper, tell=say_in_time)
    await stage.reach(1, 2)
    assert stage.kept == [2]
    assert stage.said[0] == "what the build-vm has come to behind `one` is not kept: its program did not begin"


async def test_a_disk_that_no_checkpoint_may_have_is_not_copied(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "MIB", 1)
    stage.disk.write_bytes(b"overlay" * 10_000)
    stage.keeper = replace(stage.keeper, settings=replace(stage.settings, most_saved_vms_mib=2))
    stage.vm.console += says(f"ready {ONE}")
    await stage.reach(1)
    assert stage.said[0].endswith("and all checkpoints may have 1 (most_saved_vms_mib)")
    assert stage.kept == []


async def test_a_vm_that_does_not_go_on_ends_the_run(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, VirtualMachineLost("the build-vm did not go on after it was saved"))
    stage.vm.console += says(f"ready {ONE}")
    with pytest.raises(VirtualMachineLost, match="did not go on"):
        await stage.reach(1)
    assert stage.folders == []


async def test_a_guest_that_cannot_be_another_is_not_kept_and_says_why(stage: Stage) -> None:
    stage.vm.console += says(f"skipped {ONE}: there are 2 networks")
    await stage.reach(1)
    assert stage.said == ["what the build-vm has come to behind `one` is not kept: there are 2 networks"]
    assert stage.word == "", "it does not wait"


async def test_what_another_build_keeps_just_now_or_was_refused_is_not_kept(stage: Stage) -> None:
    stage.vm.console += says(f"ready {ONE}", f"ready {TWO}")
    stage.folder.mkdir(parents=True)
    saved_vm.refuse(stage.folder, "b" * 64, "it did not go on")
    with locks.exclusive(locks.file_of(stage.folder, "a" * 64)):
        await stage.reach(1, 2)
    assert [text.rpartition(": ")[2] for text in stage.said] == [
        "another build keeps the same just now",
        "it did not go on",
    ]


SECRET = b"hunter22-of-the-run"


def holders(folder: Path, needle: bytes) -> list[str]:
    """The files in a folder that have these bytes, whatever they are called."""
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and needle in path.read_bytes())


@pytest.mark.parametrize(("mask", "expected"), [(SecretMask.of([SECRET.decode()]), [1]), (NO_SECRETS, [1, 2, 3])])
async def test_a_secret_is_in_no_byte_that_is_kept(
    mask: SecretMask, expected: list[int], stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The VM has it in RAM and on its disk from its step on. Without the mask it is found: so the search finds it."""
    texts = ["echo of the first", f"login {SECRET.decode()}", "echo of the third"]
    contents = [Content(InlineShell(text, "", (text,)), "", text) for text in texts]
    kept = positions({}, contents, mask=mask).kept
    stage.keeper = replace(stage.keeper, build=replace(BUILD, positions=kept))

    async def saved(_inside: Any, _vm: Any, workplace: Path, **noted: Any) -> None:
        done = "\n".join(texts[: noted["about"]["position"]]).encode()
        for name in (saved_vm.MEMORY, saved_vm.DISK):
            (workplace / name).write_bytes(b"\0" * 5000 + done)
        await noted["when_copied"]()
        saved_vm.finished(workplace, b"devices", "digest", about=noted["about"])

    monkeypatch.setattr(whole_vm, "saved_and_goes_on", saved)
    stage.vm.console += says(*(f"ready {str(one.number) * 16}" for one in kept))
    await stage.reach(*(one.number for one in kept))
    assert stage.kept == expected
    home = stage.settings.home
    assert holders(home, b"of the first"), "what is no secret is there"
    assert bool(holders(home, SECRET)) == (mask is NO_SECRETS)
    checkpoint.forget(stage.folder)
    assert holders(home, b"of the first") == holders(home, SECRET) == []


def keep_without_an_end(home: Path) -> None:
    """A keeper in a process of its own: it says when it has half of the RAM, and waits then."""

    async def saved(_inside: Any, _vm: Any, workplace: Path, **_noted: Any) -> None:
        (workplace / saved_vm.MEMORY).write_bytes(b"half")
        os.write(1, b"half\n")
        await asyncio.get_running_loop().create_future()

    async def work() -> None:
        stage = Stage(home)
        stage.vm.console += says(f"ready {ONE}")
        await stage.reach(1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(whole_vm, "saved_and_goes_on", saved)
        patch.setattr(keeping, "SPARE_MIB", 0)
        asyncio.run(work())


KILLED = """
import sys
sys.path.insert(0, sys.argv[1])
import test_keeping
test_keeping.keep_without_an_end(test_keeping.Path(sys.argv[2]))
"""


def kill_in_its_midst(stage: Stage) -> None:
    """Kill a keeper that has half of the RAM; while it lives, nobody takes that away."""
    words = [sys.executable, "-c", KILLED, str(Path(__file__).parent), str(stage.disk.parent)]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as keeper:
        try:
            assert keeper.stdout is not None
            assert keeper.stdout.readline() == b"half\n"
            saved_vm.remove_left(stage.folder)
            assert stage.folders == [f"{saved_vm.BEING_MADE}{'a' * 64}"]
        finally:
            keeper.kill()


async def test_a_keeper_that_is_killed_leaves_nothing_that_is_found_or_in_the_way(stage: Stage) -> None:
    await asyncio.to_thread(kill_in_its_midst, stage)
    assert stage.kept == []
    saved_vm.remove_left(stage.folder)
    assert stage.folders == []
    stage.vm.console += says(f"ready {ONE}")
    await stage.reach(1)
    assert stage.kept == [1]


async def test_without_room_for_it_nothing_is_begun(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "SPARE_MIB", 2**40)
    stage.vm.console += says(f"ready {ONE}")
    await stage.reach(1)
    assert "MiB of disk are free" in stage.said[0]
    assert stage.kept == []
