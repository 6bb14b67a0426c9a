"""What ends Packer's work before Packer does."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from qemu.qmp import EventListener, QMPError

from vmkiln.errors import LogLost, StorageFull
from vmkiln.host.namespace import Ended
from vmkiln.host.virtual_machine import VirtualMachine
from vmkiln.run import vm_pair
from vmkiln.run.login_wait import LoginWait


@pytest.fixture
async def working(monkeypatch: pytest.MonkeyPatch) -> "asyncio.Future[int]":
    """Packer's exit status, which is still to come."""
    status: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def finished(_instance: object) -> int:
        return await status

    monkeypatch.setattr(vm_pair, "finished", finished)
    return status


def a_vm(errors: EventListener) -> VirtualMachine:
    control: Any = None
    loop = asyncio.get_running_loop()
    return VirtualMachine(
        "build-vm", loop.create_future(), control, bytearray(), EventListener(), errors, loop.create_future()
    )


async def tell(errors: EventListener, action: str) -> None:
    await errors.put({"event": "BLOCK_IO_ERROR", "data": {"device": "", "action": action, "nospace": action == "stop"}})


async def packer_done(vm: VirtualMachine, log_lost: "asyncio.Future[Exception] | None" = None) -> int:
    instance: Any = SimpleNamespace(machine=a_vm(EventListener()), started=asyncio.Event())
    lost = asyncio.get_running_loop().create_future()
    login = LoginWait(asyncio.Event(), print)
    pair: Any = SimpleNamespace(login=login, log_lost=log_lost or asyncio.get_running_loop().create_future())
    async with asyncio.timeout(10):
        return await vm_pair._packer_done(instance, vm, pair, lost, lambda: False)


async def test_a_log_that_cannot_be_written_ends_packers_work(working: "asyncio.Future[int]") -> None:
    lost: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
    lost.set_result(OSError(5, "Input/output error"))
    with pytest.raises(LogLost, match=r"the log could not be kept: .*Input/output error"):
        await packer_done(a_vm(EventListener()), lost)


async def test_a_vm_that_ends_while_its_button_is_pressed_has_powered_off() -> None:
    async def disconnect(_command: str) -> None:
        asyncio.get_running_loop().call_later(0.01, vm.ended.set_result, Ended(0, ""))
        raise QMPError("Disconnected")

    vm = a_vm(EventListener())
    vm.control = SimpleNamespace(execute=disconnect)  # type: ignore[assignment]
    await vm.press_power_button()
    assert vm.ended.done()


async def test_a_vm_that_the_full_host_stopped_ends_the_run_at_once(working: "asyncio.Future[int]") -> None:
    errors = EventListener()
    await tell(errors, "stop")
    with pytest.raises(StorageFull, match="the disk of this host is full: the build-vm cannot go on"):
        await packer_done(a_vm(errors))


async def test_an_error_that_the_guest_was_told_of_is_the_guests(working: "asyncio.Future[int]") -> None:
    errors = EventListener()
    await tell(errors, "report")
    asyncio.get_running_loop().call_later(0.1, working.set_result, 7)
    assert await packer_done(a_vm(errors)) == 7
