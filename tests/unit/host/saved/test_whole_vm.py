"""A VM that is saved while it works goes on, whatever becomes of what was to be kept."""

import asyncio
import errno
from pathlib import Path
from typing import Any, cast

import pytest
from qemu.qmp import QMPError

from vmkiln.errors import VmkilnError
from vmkiln.host.namespace import Namespace
from vmkiln.host.saved import device_state, saved_vm, whole_vm
from vmkiln.host.virtual_machine import VirtualMachine
from vmkiln.run_failures import NamespaceLost, VirtualMachineLost, VirtualMachineNotSaved


class Standing:
    """A VM's QEMU, that is told to go on, and a namespace whose copy of the RAM ends as `problem` says."""

    name = "build-vm"

    def __init__(self, problem: BaseException | None = None, *, goes_on: bool = True) -> None:
        self.problem, self.goes_on = problem, goes_on
        self.control = self
        self.told: list[str] = []

    async def execute(self, command: str) -> None:
        self.told.append(command)
        if not self.goes_on:
            raise QMPError("it is gone")

    async def keep_memory(self, name: str, target: Path, *, has_digest: bool) -> str:
        assert name == self.name
        assert not has_digest, "or the VM would wait for it"
        if self.problem is not None:
            raise self.problem
        target.write_bytes(b"ram")
        return ""

    async def saved(self, folder: Path, *, disk: Path | None = None) -> None:
        workplace = saved_vm.begun(folder, "key")
        inside, vm = cast(Namespace, self), cast(VirtualMachine, self)

        async def when_copied() -> None:
            assert self.told == [], "it stands still"
            assert (workplace / saved_vm.MEMORY).read_bytes() == b"ram"
            assert not (workplace / saved_vm.RECORD).exists(), "the digests are taken behind"

        saved = await whole_vm.saved_and_goes_on(inside, vm, workplace, disk=disk, when_copied=when_copied)
        assert self.told == ["cont"]
        assert saved_vm.devices_of(saved) == b"devices"
        assert saved_vm.is_whole(saved)


@pytest.fixture(autouse=True)
def devices(monkeypatch: pytest.MonkeyPatch) -> None:
    async def save(_control: Any) -> bytes:
        return b"devices"

    monkeypatch.setattr(device_state, "save", save)


async def test_a_saved_vm_goes_on_at_the_end(tmp_path: Path) -> None:
    vm = Standing()
    await vm.saved(tmp_path)
    assert vm.told == ["cont"]


@pytest.mark.parametrize(
    ("problem", "told"),
    [
        (OSError(errno.ENOSPC, "full"), OSError),
        (VmkilnError("no room"), VirtualMachineNotSaved),
        (NamespaceLost("it ended"), NamespaceLost),
        (asyncio.CancelledError(), asyncio.CancelledError),
    ],
)
async def test_a_vm_that_could_not_be_saved_goes_on(
    tmp_path: Path, problem: BaseException, told: type[BaseException]
) -> None:
    vm = Standing(problem)
    with pytest.raises(told):
        await vm.saved(tmp_path)
    assert vm.told == ["cont"]
    assert saved_vm.found(tmp_path, "key") is None


async def test_a_vm_whose_disk_cannot_be_read_goes_on(tmp_path: Path) -> None:
    vm = Standing()
    with pytest.raises(FileNotFoundError):
        await vm.saved(tmp_path, disk=tmp_path / "no-disk")
    assert vm.told == ["cont"]


async def test_a_vm_that_does_not_go_on_is_a_lost_one(tmp_path: Path) -> None:
    with pytest.raises(VirtualMachineLost, match="did not go on after it was saved"):
        await Standing(goes_on=False).saved(tmp_path)


async def test_devices_that_cannot_be_saved_are_told_by_the_vm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(_control: Any) -> bytes:
        raise QMPError("there is a device that cannot migrate")

    monkeypatch.setattr(device_state, "save", refuse)
    vm = Standing()
    with pytest.raises(VirtualMachineLost, match="build-vm could not be saved: there is a device"):
        await vm.saved(tmp_path)
    assert vm.told == ["cont"]
