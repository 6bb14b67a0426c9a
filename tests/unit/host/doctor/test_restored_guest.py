"""A guest that is restored: what is asked of it, and that whatever goes wrong is a finding within its time."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from vmkiln.errors import HostUnfit
from vmkiln.host import namespace
from vmkiln.host.doctor import fitness, restored_guest
from vmkiln.host.doctor.fitness import Status
from vmkiln.host.doctor.restored_guest import Restored, initial_files, machine_of, restored_guest_runs
from vmkiln.host.qemu import Accelerator, Machine
from vmkiln.host.saved import device_state
from vmkiln.host.virtual_machine import CONSOLE

BUSYBOX = Path("/bin/busybox")


@dataclass
class Guest:
    """A stand-in for a live guest: it answers as the program does, with how often its memory says it was asked."""

    count: int
    word: str
    echoes_only: bool = False
    console: bytearray = field(default_factory=bytearray)
    control: Any = None
    ended: Any = None

    def write(self, text: bytes) -> None:
        """What is written to the console."""
        self.console.extend(text)  # as a terminal echoes, whoever runs behind it
        if not self.echoes_only:
            self.count += 1
            self.console.extend(f"{self.word} {self.count} ".encode() + text)

    async def drain(self) -> None:
        """It takes all."""


@pytest.fixture
def a_host(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Machine]]:
    """Stand-ins for namespaces and QEMU; gives the machines that are started."""

    def made(*, second: Callable[[int], Guest] | None = None) -> list[Machine]:
        machines: list[Machine] = []

        class Inside:
            async def run(self, _words: list[str]) -> None:
                pass

            async def keep_memory(self, _name: str, target: Path) -> str:
                target.write_bytes(b"memory")
                return "digest"

        @contextlib.asynccontextmanager
        async def opened() -> AsyncIterator[Inside]:
            yield Inside()

        @contextlib.asynccontextmanager
        async def running(_inside: object, machine: Machine, **more: Any) -> AsyncIterator[Guest]:
            machines.append(machine)
            guest = (
                Guest(0, "w" * 32) if machine.saved is None else (second or (lambda count: Guest(count, "w" * 32)))(1)
            )
            guest.ended = asyncio.get_running_loop().create_future()
            guest.console.extend(f"{guest.word} ready\n".encode() if machine.saved is None else b"")
            more["writers"][CONSOLE](guest)
            yield guest

        async def done(*_arguments: object) -> bytes:
            return b"devices"

        monkeypatch.setattr(secrets, "token_hex", lambda count: "w" * (2 * count))
        monkeypatch.setattr(namespace, "opened", opened)
        monkeypatch.setattr(restored_guest, "running", running)
        monkeypatch.setattr(restored_guest, "bind_run_directory", done)
        monkeypatch.setattr(device_state, "save", done)
        monkeypatch.setattr(restored_guest, "ANSWER_SECONDS", 0.2)
        return machines

    return made


async def tried(folder: Path, **more: Any) -> Restored:
    return await restored_guest_runs(Accelerator.TCG, kernel=Path("/kernel"), busybox=BUSYBOX, workplace=folder, **more)


async def test_the_restored_guest_is_asked_for_what_the_saved_one_had_in_memory(
    tmp_path: Path, a_host: Callable[..., list[Machine]]
) -> None:
    machines = a_host()
    found = await tried(tmp_path)
    assert found.runs, found.reason
    assert [machine.saved is None for machine in machines] == [True, False]
    assert machines[0].is_saveable
    assert machines[1].saved is not None
    assert machines[1].saved.memory_digest == "digest"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "second",
    [
        lambda count: Guest(count, "w" * 32, echoes_only=True),
        lambda count: Guest(count - 1, "w" * 32),
        lambda count: Guest(count, "v" * 32),
    ],
    ids=["only a terminal's echo", "begun anew", "another's memory"],
)
async def test_a_guest_that_does_not_run_on_is_seen(
    tmp_path: Path, a_host: Callable[..., list[Machine]], second: Callable[[int], Guest]
) -> None:
    a_host(second=second)
    found = await tried(tmp_path)
    assert not found.runs
    assert "the restored one does not run: the guest said nothing for 0.2 s" in found.reason
    assert list(tmp_path.iterdir()) == []


async def test_whatever_keeps_it_from_being_tried_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def opened() -> Any:
        raise HostUnfit("no namespaces here")

    monkeypatch.setattr(namespace, "opened", opened)
    assert await tried(tmp_path) == Restored(False, reason="no namespaces here")

    async def stuck(*_arguments: object) -> Restored:
        await asyncio.sleep(60)
        return Restored(True)

    monkeypatch.setattr(restored_guest, "_restored", stuck)
    assert await tried(tmp_path, limit_seconds=0.05) == Restored(False, reason="it took longer than 0.05 s")

    async def late(*_arguments: object) -> Restored:
        raise TimeoutError

    monkeypatch.setattr(restored_guest, "_restored", late)
    assert await tried(tmp_path) == Restored(False, reason="a step of it took too long"), "no two minutes have gone by"


def test_one_that_runs_on_is_fine_and_another_a_warning_with_what_to_do() -> None:
    good = fitness.restored_guest_finding(Restored(True, 0.84), Accelerator.KVM)
    assert (good.name, good.status, good.remedy) == ("restored guest", Status.OK, None)
    assert good.found == "a guest was saved, and went on under kvm in 0.8 s"
    bad = fitness.restored_guest_finding(Restored(False, reason="the guest ended"), Accelerator.KVM)
    assert (bad.status, bad.found) == (Status.WARNING, "not under kvm: the guest ended")
    assert bad.remedy is not None
    assert "`warm_starts` to false" in bad.remedy


def test_the_guest_has_a_build_vms_memory_and_no_disk() -> None:
    machine = machine_of(Accelerator.KVM, kernel=Path("/kernel"), initial=Path("/initial"))
    assert machine.has_memory_file
    assert machine.boots_plugged_in, "it does not wait to be unplugged"
    assert machine.disks == ()
    assert b"word $count $line" in initial_files("word", b"busybox")
