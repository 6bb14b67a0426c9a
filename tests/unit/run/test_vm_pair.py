"""What ends Packer's work before Packer does."""

import asyncio
import contextlib
import errno
import os
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from qemu.qmp import EventListener

from vmkiln.errors import StorageFailed, StorageFull, VmkilnError
from vmkiln.host.devices.machine_events import too_many_events
from vmkiln.host.namespace import Ended
from vmkiln.host.virtual_machine import VirtualMachine
from vmkiln.packer.packer_output import Connected, ScriptStarted, StepReached
from vmkiln.packer.packer_template import InlineShell
from vmkiln.packer.step_watch import StepWatch
from vmkiln.run import vm_pair
from vmkiln.run.login_wait import LoginWait
from vmkiln.run_failures import (
    AllowanceSpent,
    CheckpointLost,
    GuestPanicked,
    LoginTimedOut,
    LogLost,
    VirtualMachineLost,
)
from vmkiln.run_state import is_of_the_host

STEPS = (InlineShell("install", "properties.customize[0]", ("true",)),)


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


async def packer_done(
    vm: VirtualMachine,
    log_lost: "asyncio.Future[Exception] | None" = None,
    *,
    steps: StepWatch | None = None,
    told: list[str] | None = None,
    limit_seconds: float = 10,
    keep: Any = None,
) -> int:
    instance: Any = SimpleNamespace(machine=a_vm(EventListener()), started=asyncio.Event())
    instance.started.set()
    lost = asyncio.get_running_loop().create_future()
    steps = steps or StepWatch("build-vm", STEPS)
    pair: Any = SimpleNamespace(
        login=LoginWait(steps.is_connected, print, limit_seconds=limit_seconds, silence_seconds=0.05),
        log_lost=log_lost or asyncio.get_running_loop().create_future(),
        steps=steps,
        keep=keep,
        tell=(told if told is not None else []).append,
    )
    async with asyncio.timeout(10):
        return await vm_pair._packer_done(instance, vm, pair, lost, lambda: False)


async def test_a_log_that_cannot_be_written_ends_packers_work(working: "asyncio.Future[int]") -> None:
    lost: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
    lost.set_result(OSError(5, "Input/output error"))
    with pytest.raises(LogLost, match=r"the log could not be kept: .*Input/output error"):
        await packer_done(a_vm(EventListener()), lost)


async def test_a_vm_of_which_qemu_tells_too_much_ends_the_run_by_its_name(working: "asyncio.Future[int]") -> None:
    vm = a_vm(EventListener())
    vm.unheard.set_result(too_many_events("build-vm"))
    with pytest.raises(VirtualMachineLost, match="the build-vm made QEMU tell more than 1000 events in a minute"):
        await packer_done(vm)


async def test_a_vm_that_the_full_host_stopped_ends_the_run_at_once(working: "asyncio.Future[int]") -> None:
    errors = EventListener()
    await tell(errors, "stop")
    with pytest.raises(StorageFull, match="the disk of this host is full: the build-vm cannot go on"):
        await packer_done(a_vm(errors))


@pytest.mark.parametrize(
    ("number", "error", "match"),
    [
        (errno.EFBIG, AllowanceSpent, "the build-vm wrote more than its run may have of this host's disk"),
        (errno.EIO, StorageFailed, "could not be kept by this host: Input/output error"),
    ],
)
async def test_a_vm_whose_writes_fail_ends_the_run_with_the_reason(
    number: int, error: type[VmkilnError], match: str, working: "asyncio.Future[int]"
) -> None:
    errors = EventListener()
    data = {"device": "", "action": "stop", "nospace": False, "reason": os.strerror(number)}
    await errors.put({"event": "BLOCK_IO_ERROR", "data": data})
    with pytest.raises(error, match=match) as caught:
        await packer_done(a_vm(errors))
    assert is_of_the_host(caught.value) == (error is StorageFailed), "what a run wrote too much is no host's fault"


async def test_an_error_that_the_guest_was_told_of_is_the_guests(working: "asyncio.Future[int]") -> None:
    errors = EventListener()
    await tell(errors, "report")
    asyncio.get_running_loop().call_later(0.1, working.set_result, 7)
    assert await packer_done(a_vm(errors)) == 7


def at_its_step() -> StepWatch:
    steps = StepWatch("build-vm", STEPS)
    for event in (Connected(), StepReached(0), ScriptStarted("boot-1")):
        steps.note(event)
    return steps


async def reset(vm: VirtualMachine, *, guest: bool = True) -> None:
    await vm.resets.put({"event": "RESET", "data": {"guest": guest, "reason": "guest-reset"}})


async def test_a_restart_is_told_with_the_step_and_the_login_is_waited_for(working: "asyncio.Future[int]") -> None:
    vm, told = a_vm(EventListener()), []  # type: ignore[var-annotated]
    steps = at_its_step()
    done = asyncio.create_task(packer_done(vm, steps=steps, told=told, limit_seconds=0.3))
    await asyncio.sleep(0.05)
    await reset(vm)
    with pytest.raises(LoginTimedOut, match=r"could not log in to the build-vm .* of its restart; .* port 22"):
        await done
    assert told == ["the build-vm restarts during `install`; waiting until Packer can log in again"]


async def test_a_vm_that_is_back_in_time_goes_on(working: "asyncio.Future[int]") -> None:
    vm, steps = a_vm(EventListener()), at_its_step()
    told: list[str] = []
    done = asyncio.create_task(packer_done(vm, steps=steps, told=told, limit_seconds=0.4))
    for _ in range(2):
        await asyncio.sleep(0.2)
        for _ in range(3):  # a BIOS resets the machine again
            await reset(vm)
        await asyncio.sleep(0.2)
        steps.is_connected.set()
    await asyncio.sleep(0.5)
    assert not done.done()
    assert len(told) == 2
    working.set_result(0)
    assert await done == 0


async def test_a_restart_before_the_first_login_is_part_of_booting(working: "asyncio.Future[int]") -> None:
    vm, told = a_vm(EventListener()), []  # type: ignore[var-annotated]
    steps = StepWatch("build-vm", STEPS)
    await reset(vm)
    done = asyncio.create_task(packer_done(vm, steps=steps, told=told, limit_seconds=0.5))
    await asyncio.sleep(0.1)
    steps.note(Connected())
    await asyncio.sleep(0.1)
    working.set_result(0)
    assert await done == 0
    assert told == []


async def test_a_step_that_was_cut_short_ends_packers_work(working: "asyncio.Future[int]") -> None:
    steps = at_its_step()
    done = asyncio.create_task(packer_done(a_vm(EventListener()), steps=steps))
    await asyncio.sleep(0.05)
    steps.note(ScriptStarted("boot-2"))
    assert await done == 1


async def test_a_step_that_turns_the_vm_off_is_named(working: "asyncio.Future[int]") -> None:
    vm = a_vm(EventListener())
    vm.ended.set_result(Ended(0, ""))
    with pytest.raises(VirtualMachineLost, match=r"turned off in `install` \(properties.customize\[0\]\)") as caught:
        await packer_done(vm, steps=at_its_step())
    assert "may restart the VM, but not turn it off" in str(caught.value.hint)


async def test_a_panic_is_told_with_the_step(working: "asyncio.Future[int]") -> None:
    vm = a_vm(EventListener())
    await vm.panics.put({"event": "GUEST_PANICKED", "data": {}})
    vm.ended.set_result(Ended(0, ""))
    with pytest.raises(GuestPanicked, match=r"panicked while Packer was working on it .in `install`."):
        await packer_done(vm, steps=at_its_step())


@pytest.mark.parametrize(
    ("status", "match"),
    [(None, "did not power off within"), (9, "while it powered off"), (0, "")],
    ids=["stays", "killed", "off"],
)
async def test_success_needs_the_vm_to_have_powered_itself_off(
    status: int | None, match: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    vm = a_vm(EventListener())
    if status is not None:
        vm.ended.set_result(Ended(status, ""))

    @contextlib.asynccontextmanager
    async def started(*_arguments: object, **_named: object) -> AsyncIterator[Any]:
        yield SimpleNamespace(machine=a_vm(EventListener()), peak_memory_kib=1)

    async def given(value: Any, *_arguments: object, **_named: object) -> Any:
        return value

    monkeypatch.setattr(vm_pair, "started", started)
    monkeypatch.setattr(vm_pair, "_warm_or_cold", lambda *_arguments, **_named: given(vm))
    monkeypatch.setattr(vm_pair, "_packer_done", lambda *_arguments: given(0))
    monkeypatch.setattr(vm_pair, "_all_told", lambda _steps: given(None))
    lost: Any = asyncio.get_running_loop().create_future()
    pair: Any = SimpleNamespace(
        **dict.fromkeys(("container_group", "directory", "on_output", "on_confinement", "report", "screen")),
        steps=SimpleNamespace(ended=lambda found: found, current=None), power_off_seconds=0.01, log_lost=lost,
    )  # fmt: skip
    run = vm_pair.run_to_end(
        SimpleNamespace(is_lost=False),  # type: ignore[arg-type]
        pair,
        egress_lost=lost,
        may_power_off=lambda: True,
        power_off=True,
    )
    with pytest.raises(VirtualMachineLost, match=match) if match else contextlib.nullcontext():
        assert (await run).exit_status == 0


async def test_one_that_does_not_wake_is_ended_before_another_is_booted(monkeypatch: pytest.MonkeyPatch) -> None:
    happened: list[str] = []

    @contextlib.asynccontextmanager
    async def running(_namespace: object, machine: Any, **_named: object) -> AsyncIterator[Any]:
        happened.append(f"start {machine.name}")
        try:
            yield machine
        finally:
            happened.append(f"end {machine.name}")

    async def renewed(_vm: object) -> None:
        raise VirtualMachineLost("it was waited for")

    async def booted_instead(reason: str) -> Any:
        happened.append(reason)
        return cold

    monkeypatch.setattr(vm_pair, "running", running)
    monkeypatch.setattr(vm_pair, "renewed", renewed)
    warm = SimpleNamespace(saved="something", name="warm", stopped_by_write_error=asyncio.Event().wait)
    cold = SimpleNamespace(saved=None, name="cold")
    namespace: Any = SimpleNamespace(is_lost=False)
    pair: Any = SimpleNamespace(
        vm=warm, booted_instead=booted_instead, directory=None, on_confinement=None, report=None
    )
    async with contextlib.AsyncExitStack() as stack:
        vm: Any = await vm_pair._warm_or_cold(stack, namespace, pair, lost=())
        assert vm is cold
    assert happened == ["start warm", "end warm", "it was waited for", "start cold", "end cold"]


async def test_a_vm_is_not_waited_for_when_the_run_cannot_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[str] = []

    async def renewed(_vm: object) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("renewal")

    monkeypatch.setattr(vm_pair, "renewed", renewed)
    lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(lost.set_result, "the container group is gone")
    async with asyncio.timeout(10):
        await vm_pair._renewed_unless(a_vm(EventListener()), (lost,))
    assert ended == ["renewal"]


async def test_a_full_disk_while_a_vm_becomes_another_is_not_taken_for_its_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def renewed(_vm: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(vm_pair, "renewed", renewed)
    vm = a_vm(EventListener())
    await tell(vm.disk_errors, "stop")
    lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    async with asyncio.timeout(60):
        with pytest.raises(StorageFull, match="the disk of this host is full"):
            await vm_pair._renewed_unless(vm, (lost,))


async def test_a_vm_that_cannot_become_another_machine_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async def renewed(_vm: object) -> None:
        raise VirtualMachineLost("it says nothing")

    monkeypatch.setattr(vm_pair, "renewed", renewed)
    lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    with pytest.raises(VirtualMachineLost, match="it says nothing"):
        await vm_pair._renewed_unless(a_vm(EventListener()), (lost,))


async def test_a_vm_that_does_not_go_on_after_it_was_kept_ends_the_work(working: "asyncio.Future[int]") -> None:
    async def keep(_vm: VirtualMachine) -> None:
        raise VirtualMachineLost("the build-vm did not go on")

    with pytest.raises(VirtualMachineLost, match="did not go on"):
        await packer_done(a_vm(EventListener()), keep=keep)


async def test_who_keeps_the_vm_is_ended_with_packers_work(working: "asyncio.Future[int]") -> None:
    ended = asyncio.Event()

    async def keep(_vm: VirtualMachine) -> None:
        working.set_result(0)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.set()

    assert await packer_done(a_vm(EventListener()), keep=keep) == 0
    assert ended.is_set()


async def test_a_checkpoint_that_is_no_other_machine_is_not_booted_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextlib.asynccontextmanager
    async def running(*_: Any, **__: Any) -> AsyncIterator[VirtualMachine]:
        yield a_vm(EventListener())

    async def renewed(_vm: VirtualMachine) -> None:
        raise VirtualMachineLost("it said nothing")

    monkeypatch.setattr(vm_pair, "running", running)
    monkeypatch.setattr(vm_pair, "renewed", renewed)
    namespace: Any = SimpleNamespace(is_lost=False)
    machine = SimpleNamespace(saved="a checkpoint")
    pair: Any = SimpleNamespace(vm=machine, booted_instead=None, directory=None, on_confinement=None, report=None)
    async with contextlib.AsyncExitStack() as stack:
        with pytest.raises(CheckpointLost, match="it said nothing"):
            await vm_pair._warm_or_cold(stack, namespace, pair, lost=())
