"""A failed build VM is held: it is put on disk until its time is over, and the run fails as it would have.

One that cannot be put there, for want of room say, goes on running where a command may wait for it, with its disks,
memory and network, until it is let go. Meanwhile its user may enter it, through a container group of the run's own
network. That hold ends when its time is over, by `vmkiln run release`, when the VM ends, and with the process that runs
the build, however that ends: then the VM and all that belongs to it are gone as those of every run are.

*Leaves behind:* a lease; an input disk in the run's folder. *Undone by:* `lease.forget`, `lease.remove_over`; the
deletion of the folder. *Safe to repeat:* no.
"""

import asyncio
import contextlib
import functools
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from qemu.qmp import QMPError

from vmkiln.errors import VmkilnError
from vmkiln.host.host_id import host_id
from vmkiln.host.qemu import Machine
from vmkiln.host.virtual_machine import VirtualMachine
from vmkiln.run.held import door, lease, sealing, shell_group
from vmkiln.run.held.sealing import Kept, NotLeased
from vmkiln.run.run_context import Entered
from vmkiln.run_failures import VirtualMachineLost
from vmkiln.staging.container_group import ContainerGroup
from vmkiln.store.database import utc_now
from vmkiln.waiting.deadline import time_stands_still
from vmkiln.waiting.off_loop import off_loop

GROUP_END_SECONDS = 30
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Hold:
    """How a failed VM is held: the container group that its user comes through, the key that opens it, how long.

    `machine` is the VM as it was started. `tell` tells the user, and the log of the run.
    """

    entered: Entered
    group: ContainerGroup
    machine: Machine
    private_key: str
    seconds: int
    tell: Callable[[str], None]


def when_failed(hold: Hold) -> Callable[[VirtualMachine, VirtualMachine], Awaitable[None]] | None:
    """What is to be done when Packer failed: none for a run that nobody asked to hold, which gets no door; pure."""
    return functools.partial(leased_or_held, hold) if hold.seconds > 0 else None


async def leased_or_held(hold: Hold, packers: VirtualMachine, vm: VirtualMachine) -> None:
    """Put the VM on disk, and end it; hold it running where that cannot be done. It never fails for it."""
    try:
        with time_stands_still():
            await _leased(hold, vm)
    except NotLeased as error:
        if hold.entered.staged.request.may_hold_running:
            hold.tell(f"the failed VM could not be put on disk, so it is held running: {error}")
            await held(hold, packers, vm)
        else:
            hold.tell(f"the failed VM could not be held: {error}")
    except (VmkilnError, OSError) as error:  # what the run fails for is told all the same
        log.warning("holding the failed VM went wrong: %s", error, exc_info=error)
        hold.tell(f"the failed VM could not be held: {error}")


async def _leased(hold: Hold, vm: VirtualMachine) -> None:
    staged = hold.entered.staged
    settings, store, run_id = staged.host.settings, staged.host.store, staged.request.run_id
    began, until = time.monotonic(), time.time() + hold.seconds
    kept = Kept(hold.machine, staged.network, hold.private_key)
    made = await sealing.sealed(hold.entered.namespace, vm, kept, settings, store, run_id=run_id, until=until)
    told = datetime.fromtimestamp(until, UTC).isoformat(timespec="seconds")
    size_mib = made.size_bytes // lease.MIB
    hold.tell(
        f"the {vm.name} is held until {told}, on disk ({size_mib} MiB, {time.monotonic() - began:.1f} s): "
        f"`vmkiln run shell {run_id[:8]}` enters it, `vmkiln run release {run_id[:8]}` deletes it"
    )

    noted = functools.partial(lease.note, store, made, hold.machine, group=staged.group.name)
    try:
        await off_loop(lambda: noted(host=host_id(settings)))
    except VmkilnError as error:  # it is there all the same, and goes when its time is over
        log.warning("that the run %s is held could not be recorded: %s", run_id, error)


async def held(hold: Hold, packers: VirtualMachine, vm: VirtualMachine) -> None:
    """Hold the VM until it is let go; Packer's container group has to have ended by then. It never fails for it."""
    try:
        with time_stands_still():
            await _held(hold, packers, vm)
    except (VmkilnError, OSError) as error:
        log.warning("the failed VM could not be held: %s", error, exc_info=error)
        hold.tell(f"the failed VM could not be held: {error}")


async def _held(hold: Hold, packers: VirtualMachine, vm: VirtualMachine) -> None:
    staged = hold.entered.staged
    run_id, runs = staged.request.run_id, staged.host.store.runs
    await _ended(packers)
    machine = await shell_group.made(hold.group, staged.network, staged.directory)
    session = shell_group.session_of(hold.entered.namespace, machine, staged.directory, hold.tell)
    opening = functools.partial(door.opened, staged.directory, private_key=hold.private_key, session=session)
    async with opening() as released:
        until = (utc_now() + timedelta(seconds=hold.seconds)).isoformat(timespec="seconds")
        await off_loop(runs.add_facts, run_id, held_until=until)
        hold.tell(
            f"the {vm.name} is held until {until}: `vmkiln run shell {run_id[:8]}` enters it, "
            f"`vmkiln run release {run_id[:8]}` lets it go"
        )
        reason = await _let_go(hold, vm, released)
    await off_loop(runs.add_facts, run_id, held_until="")
    hold.tell(f"the {vm.name} is not held any more: {reason}")


async def _ended(packers: VirtualMachine) -> None:
    """Wait for the end of Packer's container group, whose place in the network a visitor's takes; end one that hangs.

    Raises: `VirtualMachineLost` when it does not end.
    """
    done, _ = await asyncio.wait([packers.ended], timeout=GROUP_END_SECONDS)
    if not done:
        with contextlib.suppress(QMPError):
            await packers.control.execute("quit")
        done, _ = await asyncio.wait([packers.ended], timeout=GROUP_END_SECONDS)
    if not done:
        raise VirtualMachineLost("Packer's container group did not end, and a visitor comes in its place")


async def _let_go(hold: Hold, vm: VirtualMachine, released: asyncio.Event) -> str:
    """Wait for what ends the hold; gives the reason."""
    letting_go = asyncio.create_task(released.wait())
    stopped = asyncio.create_task(vm.stopped_by_write_error())
    reasons: dict[asyncio.Future[Any], str] = {
        letting_go: "it was released",
        stopped: "this host could not write what it wrote",
        vm.ended: "it ended",
        vm.unheard: "what it says could not be read any more",
        hold.entered.egress_lost: "it lost its way to the Internet",
    }
    try:
        await asyncio.wait(reasons, timeout=hold.seconds, return_when=asyncio.FIRST_COMPLETED)
        return next((text for future, text in reasons.items() if future.done()), "its time is over")
    finally:
        for task in (letting_go, stopped):
            task.cancel()
        await asyncio.gather(letting_go, stopped, return_exceptions=True)
