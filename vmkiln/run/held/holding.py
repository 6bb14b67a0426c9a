"""A failed build VM is held: it goes on running, with its disks, memory and network, until it is let go.

Meanwhile its user may enter it, through a container group of the run's own network. The hold ends when its time is
over, by `vmkiln run release`, when the VM ends, and with the process that runs the build, however that ends: then the
VM and all that belongs to it are gone as those of every run are. The run fails in any case as it would have.

*Leaves behind:* an input disk in the run's folder. *Undone by:* the deletion of the folder. *Safe to repeat:* no.
"""

import asyncio
import contextlib
import functools
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from qemu.qmp import QMPError

from vmkiln.errors import VmkilnError
from vmkiln.host.virtual_machine import VirtualMachine
from vmkiln.packer.packer_template import PackerInput
from vmkiln.run.held import door, shell_group
from vmkiln.run.run_context import Entered
from vmkiln.run_failures import VirtualMachineLost
from vmkiln.staging.container_group import ContainerGroup
from vmkiln.store.database import utc_now
from vmkiln.waiting.deadline import time_stands_still
from vmkiln.waiting.off_loop import off_loop

INPUT_DISK = "held-input.ext4"
GROUP_END_SECONDS = 30
MakeInput = Callable[[Path, PackerInput], Awaitable[None]]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Hold:
    """How a failed VM is held: the container group that its user comes through, the key that opens it, how long.

    `make_input` makes an input disk. `tell` tells the user, and the log of the run.
    """

    entered: Entered
    group: ContainerGroup
    private_key: str
    seconds: int
    make_input: MakeInput
    tell: Callable[[str], None]


def when_failed(hold: Hold) -> Callable[[VirtualMachine, VirtualMachine], Awaitable[None]] | None:
    """What is to be done when Packer failed: none for a run that nobody asked to hold, which gets no door; pure."""
    return functools.partial(held, hold) if hold.seconds > 0 else None


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
    input_disk = staged.directory / INPUT_DISK
    await hold.make_input(input_disk, shell_group.shell_input(staged.network))
    machine = shell_group.describe(hold.group, staged.network, input_disk)

    async def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hold.tell("somebody enters the failed VM")
        try:
            await shell_group.visit(hold.entered.namespace, machine, staged.directory, reader, writer)
        except VmkilnError as error:
            hold.tell(f"the failed VM could not be entered: {error}")
        else:
            hold.tell("nobody is in the failed VM any more")

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
        hold.entered.egress_lost: "it lost its way to the Internet",
    }
    try:
        await asyncio.wait(reasons, timeout=hold.seconds, return_when=asyncio.FIRST_COMPLETED)
        return next((text for future, text in reasons.items() if future.done()), "its time is over")
    finally:
        for task in (letting_go, stopped):
            task.cancel()
        await asyncio.gather(letting_go, stopped, return_exceptions=True)
