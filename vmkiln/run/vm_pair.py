"""Packer at work on a VM: a container group and a build or validation VM, side by side, until Packer is done.

Used for customizing and for validating. The two VMs start together; the container group does not wait for the other.

*Leaves behind:* the VM's overlay. *Undone by:* leaving; both VMs are killed. *Safe to repeat:* with a new overlay.
"""

import asyncio
import contextlib
import errno
import functools
import os
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vmkiln.errors import StorageFailed, StorageFull, VmkilnError
from vmkiln.host.confinement.confinement import OnConfinement
from vmkiln.host.namespace import Namespace
from vmkiln.host.qemu import Machine
from vmkiln.host.virtual_machine import Reader, VirtualMachine, WriteError, running
from vmkiln.packer.step_watch import StepWatch
from vmkiln.run.guest.guest_report import GuestReport
from vmkiln.run.login_wait import LoginWait, console_ends, logged_in
from vmkiln.run_failures import (
    AllowanceSpent,
    CheckpointLost,
    EgressLost,
    GuestPanicked,
    LogLost,
    NotBelieved,
    VirtualMachineLost,
)
from vmkiln.staging.container_group import ContainerInstance, finished, started
from vmkiln.warm.saved_base import renewed

REPORT_SECONDS = 20
POWER_OFF_SECONDS = 120


@dataclass(frozen=True)
class VmPair:
    """The two machines, the run's folder with their sockets, what reads Packer's output, the wait for its login.

    `steps` knows where Packer is, and `tell` has what it says for the user. `log_lost` ends with the error when what
    was read could not be written. `on_confinement` gets what holds each machine's process.
    When the VM is to go on from a saved one, and that is of no use, `booted_instead` is called with the reason, and
    gives the machine that is booted; without it, the run's own caller begins anew. `keep` keeps the VM at checkpoints,
    for as long as Packer works. `on_failed` gets both machines when Packer failed; they end when it is done. `report`
    reads what the VM tells on its ports of these names, and says whether it ended well. The VM has `power_off_seconds`
    to turn itself off, or as long as every VM.
    """

    container_group: Machine
    vm: Machine
    directory: Path
    on_output: Reader
    login: LoginWait
    log_lost: "asyncio.Future[Exception]"
    steps: StepWatch
    tell: Callable[[str], None]
    on_confinement: OnConfinement | None = None
    booted_instead: Callable[[str], Awaitable[Machine]] | None = None
    on_failed: Callable[[VirtualMachine, VirtualMachine], Awaitable[None]] | None = None
    report: GuestReport | None = None
    screen: Callable[[VirtualMachine], AbstractAsyncContextManager[None]] | None = None
    power_off_seconds: float | None = None
    keep: Callable[[VirtualMachine], Coroutine[Any, Any, None]] | None = None


@dataclass(frozen=True)
class Outcome:
    """How Packer ended, whether the VM had powered itself off by then, and the container group's memory in KiB.

    `group_went_on` and `vm_went_on` are whether they went on from a saved one.
    """

    exit_status: int
    vm_is_off: bool
    peak_memory_kib: int
    group_went_on: bool = False
    vm_went_on: bool = False


async def run_to_end(
    namespace: Namespace,
    pair: VmPair,
    *,
    egress_lost: "asyncio.Future[str]",
    may_power_off: Callable[[], bool],
    power_off: bool,
) -> Outcome:
    """Run Packer to its end; with `power_off`, until the VM has powered itself off, so that its disk is whole.

    The container group is believed in nothing that counts: success is its exit status, each step told in its order up
    to the last, and, with `power_off`, the VM's own end. `may_power_off` tells, when the VM ends, whether Packer had
    told it to; any other end is a lost VM.

    Raises: `NotBelieved` for what cannot be true; `CheckpointLost` for a VM that does not go on from what was saved,
    and cannot be booted instead; within seconds, `VirtualMachineLost` when either VM ends too early or
    otherwise than by powering off, `EgressLost` when the egress leg ends, `LogLost` when what they say cannot be kept,
    `NamespaceLost` when the namespaces end; `StorageFull` when this host, or what the run has reserved of
    it, has no room for what the VM writes, `StorageFailed` when it cannot be written; `LoginTimedOut` when Packer has
    not logged in at the limit. A cancel leaves with the end of the consoles as a note, for a time-out to show.
    """
    try:
        async with contextlib.AsyncExitStack() as stack:
            group = started(
                namespace,
                pair.container_group,
                directory=pair.directory,
                on_output=pair.on_output,
                on_confinement=pair.on_confinement,
            )
            instance = await stack.enter_async_context(group)
            vm = await _warm_or_cold(stack, namespace, pair, lost=(instance.machine.ended, egress_lost, pair.log_lost))
            if pair.screen is not None:
                await stack.enter_async_context(pair.screen(vm))
            work = _packer_done(instance, vm, pair, egress_lost, may_power_off)
            exit_status = pair.steps.ended(await _noting(instance, vm, work))
            if exit_status == 0:
                await _all_told(pair.steps)
            elif pair.on_failed is not None:
                await pair.on_failed(instance.machine, vm)
            if power_off and exit_status == 0:
                await _powered_off(vm, pair.power_off_seconds or POWER_OFF_SECONDS)
                if not _ended_well(vm):
                    raise _lost(vm, "while it powered off", pair.steps)
                if pair.report is not None:
                    await pair.report.ended_well()
            peak = instance.peak_memory_kib
            return Outcome(exit_status, vm.ended.done(), peak, instance.machine.went_on, vm.went_on)
    except (VirtualMachineLost, EgressLost) as error:
        if namespace.is_lost:
            raise namespace.loss() from error
        raise


async def _warm_or_cold(
    stack: contextlib.AsyncExitStack,
    namespace: Namespace,
    pair: VmPair,
    *,
    lost: "Sequence[asyncio.Future[Any]]",
) -> VirtualMachine:
    """The VM, going on from a saved one as another machine; booted where that is of no use, or nothing was saved.

    It is not waited for when one of `lost` has ended, without which the run cannot go on.
    """
    machine = pair.vm
    channels = {} if pair.report is None else {channel.name: pair.report.feed for channel in machine.channels}
    start = functools.partial(
        running, namespace, directory=pair.directory, channels=channels, on_confinement=pair.on_confinement
    )
    if machine.saved is not None:
        try:
            async with contextlib.AsyncExitStack() as own:
                vm = await own.enter_async_context(start(machine))
                await _renewed_unless(vm, lost)
                stack.push_async_exit(own.pop_all())
                return vm
        except VirtualMachineLost as error:
            if namespace.is_lost:
                raise
            if pair.booted_instead is None:
                raise CheckpointLost(error.message, hint=error.hint) from error
            machine = await pair.booted_instead(error.message)
    return await stack.enter_async_context(start(machine))


async def _renewed_unless(vm: VirtualMachine, lost: "Sequence[asyncio.Future[Any]]") -> None:
    """Wait until the VM is another machine, or one of `lost` has ended: whoever waits for Packer then says which.

    Raises: `VirtualMachineLost`; as `_unwritten` when this host has no room for what it writes, which no other start
    had either: what was saved is not to blame.
    """
    renewal = asyncio.create_task(renewed(vm))
    stopped = asyncio.create_task(vm.stopped_by_write_error())
    try:
        await asyncio.wait([renewal, stopped, *lost], return_when=asyncio.FIRST_COMPLETED)
        if stopped.done():
            raise _unwritten(vm.name, stopped.result())
        if renewal.done():
            renewal.result()
    finally:
        for task in (renewal, stopped):
            task.cancel()
        await asyncio.gather(renewal, stopped, return_exceptions=True)


async def _packer_done(
    instance: ContainerInstance,
    vm: VirtualMachine,
    pair: VmPair,
    egress_lost: "asyncio.Future[str]",
    may_power_off: Callable[[], bool],
) -> int:
    packer = asyncio.create_task(finished(instance))
    stopped = asyncio.create_task(vm.stopped_by_write_error())
    logging_in = asyncio.create_task(_logging_in(instance, vm, pair))
    keeping = asyncio.create_task(pair.keep(vm) if pair.keep is not None else _nothing_kept())
    broken = pair.steps.broken
    try:
        unheard, untrue = (instance.machine.unheard, vm.unheard, pair.log_lost), pair.steps.untrue
        waiting: list[asyncio.Future[Any]] = [packer, vm.ended, egress_lost, stopped, broken, untrue, keeping, *unheard]
        await asyncio.wait([*waiting, logging_in], return_when=asyncio.FIRST_COMPLETED)
        if not any(future.done() for future in waiting):
            logging_in.result()  # it raises that Packer did not log in
        _check_heard(unheard, untrue)
        if stopped.done():
            raise _unwritten(vm.name, stopped.result())
        if not packer.done() and egress_lost.done():
            raise EgressLost(f"the build VM lost its way to the Internet: {egress_lost.result()}")
        if vm.ended.done() and not _ended_well(vm):
            # also when Packer is content: it takes the end of the connection for the power-off it asked for
            raise _lost(vm, "while Packer was working on it", pair.steps)
        if keeping.done() and not packer.done():
            keeping.result()  # it raises that the VM did not go on
        if broken.done() and not packer.done():
            return 1
        if not packer.done() and may_power_off():
            # the VM was told to power off by the last step; Packer's own end is still on its way
            await asyncio.wait([packer], timeout=REPORT_SECONDS)
            if not packer.done():
                raise _not_believed(f"the {vm.name} powered off {REPORT_SECONDS} s ago, and Packer goes on")
        if not packer.done():
            raise _lost(vm, "while Packer was working on it", pair.steps)
        return packer.result()
    finally:
        for task in (packer, stopped, logging_in, keeping):
            task.cancel()
        await asyncio.gather(packer, stopped, logging_in, keeping, return_exceptions=True)


async def _nothing_kept() -> None:
    """A phase of which nothing is kept: it never ends of itself."""
    await asyncio.get_running_loop().create_future()


def _check_heard(unheard: Sequence["asyncio.Future[Exception]"], untrue: "asyncio.Future[str]") -> None:
    """What the VMs say. Raises: `LogLost` for what cannot be kept; `NotBelieved`, `VirtualMachineLost` as it says."""
    for failure in unheard:
        if failure.done():
            error = failure.result()
            if isinstance(error, NotBelieved | VirtualMachineLost):
                raise error
            raise LogLost(f"the log could not be kept: {error}") from error
    if untrue.done():
        raise _not_believed(untrue.result())


async def _logging_in(instance: ContainerInstance, vm: VirtualMachine, pair: VmPair) -> None:
    """Wait for Packer's login, and for another one after each restart of the VM. It ends when one fails."""
    await logged_in(instance, vm, pair.login)
    while True:
        vm.resets.clear()  # those of this boot: a BIOS resets the machine once more when it is not started by power
        await vm.reset()
        for text in pair.steps.restarted():
            pair.tell(text)
        await logged_in(instance, vm, pair.login, is_again=True)


async def _noting(instance: ContainerInstance, vm: VirtualMachine, work: Awaitable[int]) -> int:
    try:
        return await work
    except asyncio.CancelledError as error:
        error.add_note(console_ends(instance, vm))
        raise


def _ended_well(vm: VirtualMachine) -> bool:
    """Whether an ended VM powered itself off: neither was QEMU killed, nor did the guest's kernel panic."""
    return vm.ended.result().status == 0 and not vm.has_panicked


def _unwritten(name: str, error: WriteError) -> VmkilnError:
    """What a run ends with whose VM was stopped because it could not write."""
    if error.has_no_room:
        return StorageFull(f"the disk of this host is full: the {name} cannot go on", hint="make room")
    if error.reason == os.strerror(errno.EFBIG):
        return AllowanceSpent(
            f"the {name} wrote more than its run may have of this host's disk: it cannot go on",
            hint="a larger `osDiskSizeGB` reserves more",
        )
    return StorageFailed(f"what the {name} wrote could not be kept by this host: {error.reason}")


def _lost(vm: VirtualMachine, moment: str, steps: StepWatch) -> VirtualMachineLost:
    ended = vm.ended.result()
    step = steps.current
    at = f" (in `{step.name}`)" if step is not None else ""
    if vm.has_panicked:
        return GuestPanicked(
            f"the kernel of the {vm.name} panicked {moment}{at}",
            hint="the end of its console:\n" + vm.last_console_lines(60),
        )
    console = "the end of its console:\n" + vm.last_console_lines()
    if ended.status == 0 and step is not None:
        place = f" ({step.path})" if step.path else ""
        return VirtualMachineLost(
            f"the {vm.name} was turned off in `{step.name}`{place}, with work still to do in it",
            hint=f"a step may restart the VM, but not turn it off; {console}",
        )
    return VirtualMachineLost(
        f"the {vm.name} ended (status {ended.status}) {moment}{at}"
        + (f": {ended.output.strip()}" if ended.output.strip() else ""),
        hint=console,
    )


async def _all_told(steps: StepWatch) -> None:
    """Wait until the last step was told, which is on its way by another port. Raises: `NotBelieved` when it is not."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(REPORT_SECONDS):
            await steps.is_complete.wait()
    if steps.untrue.done():
        raise _not_believed(steps.untrue.result())
    if not steps.is_complete.is_set():
        raise _not_believed(f"Packer is told to have ended well, at step {steps.step + 1} of {len(steps.steps)}")


def _not_believed(text: str) -> NotBelieved:
    return NotBelieved(f"what the container group tells cannot be true: {text}", hint="nothing was published")


async def _powered_off(vm: VirtualMachine, seconds: float) -> None:
    """Wait for the VM's own power-off, which ends its last step. Raises: `VirtualMachineLost` when it does not come."""
    await asyncio.wait([vm.ended], timeout=seconds)
    if not vm.ended.done():
        raise VirtualMachineLost(
            f"the {vm.name} did not power off within {seconds:g} s, so its disk may not be whole",
            hint="its deprovisioning ends with that; the end of its console:\n" + vm.last_console_lines(),
        )
