"""One phase of Packer's work on a VM: its input disk, its seed, its two machines, its log, its events.

Customizing and validating differ only in the steps, the disk and what a failure means.

*Leaves behind:* the VM's overlay in the run's folder, and the log. *Undone by:* the deletion of the run's folder.
*Safe to repeat:* with a new overlay.
"""

import asyncio
import contextlib
import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from vmkiln.azure_names import CONTAINER_GROUP, DISK, NETWORK_INTERFACE, VIRTUAL_MACHINE
from vmkiln.host.confinement.confinement import Fact
from vmkiln.host.disk.iso_image import make_iso
from vmkiln.host.qemu import Machine, SavedVm
from vmkiln.packer.input_disk import make_input_disk
from vmkiln.packer.packer_output import (
    CheckpointLeft,
    Line,
    PackerEvent,
    PackerOutput,
    ScriptEnded,
    Speaker,
    StepReached,
)
from vmkiln.packer.packer_template import Checkpoint, Deprovision, PackerInput, checkpoint_of
from vmkiln.packer.step_watch import StepWatch, asking_for_restart
from vmkiln.run.checkpoints.keeping import Keeper
from vmkiln.run.failure.console_text import kept_then
from vmkiln.run.guest import choice, screen
from vmkiln.run.guest.guest import Guest, firmware_of
from vmkiln.run.guest.linux_guest import instance_id_of
from vmkiln.run.guest.order import HIDDEN_STEPS, AnyStep, PackerPhase
from vmkiln.run.held.holding import Hold, when_failed
from vmkiln.run.login_wait import LoginWait
from vmkiln.run.run_context import Entered, Staged
from vmkiln.run.run_event import LogLine, Notice, PartEnded, PartStarted, StepStarted
from vmkiln.run.starts.build_vm_start import wants_cold
from vmkiln.run.vm_pair import Outcome, VmPair, run_to_end
from vmkiln.run_failures import CheckpointLost, LogLost, RunFailed
from vmkiln.run_state import PartKind, Phase
from vmkiln.secrecy.secret_mask import SecretMask
from vmkiln.staging import build_vm, container_group, output_queue
from vmkiln.staging.customization_log import CustomizationLog
from vmkiln.staging.logs.log_index import LogIndex
from vmkiln.staging.logs.log_news import NEWS
from vmkiln.staging.output_limit import OutputLimit
from vmkiln.staging.output_queue import OutputQueue
from vmkiln.staging.staging_resource_group import resources
from vmkiln.staging.storage_account import LOGS
from vmkiln.store.run_facts import CONFINEMENT, ConfinementFacts, PeakFacts, StartFacts
from vmkiln.waiting.off_loop import off_loop, off_loop_with
from vmkiln.warm.checkpoint_step import NOBODY, write_word


@dataclass(frozen=True)
class PhaseResult:
    """How Packer's work ended: its exit status, the step it was at, what it said, how the last script ended.

    `refused` is what the egress policy refused during that step.
    """

    outcome: Outcome
    step: AnyStep | None
    error: str
    script_status: int | None
    refused: tuple[str, ...] = ()


async def carry_out(entered: Entered, packer_phase: PackerPhase) -> PhaseResult:
    """Do the phase's work.

    Raises: `VirtualMachineLost` when a VM ends too early, `LoginTimedOut` when Packer cannot log in.
    """
    staged = entered.staged
    guest = await off_loop(choice.described, staged, packer_phase)
    mask = staged.request.mask | guest.mask
    input_disk = staged.directory / f"{packer_phase.vm_name}-input.ext4"
    network_text = container_group.network_text(staged.network)
    content = guest.content.with_file(container_group.NETWORK_FILE, network_text)
    async with asyncio.TaskGroup() as tasks:
        for disc in guest.discs:
            making = make_iso(disc.path, disc.files, label=disc.label, timeout_seconds=disc.timeout_seconds)
            tasks.create_task(making)
        tasks.create_task(make_input_disk(input_disk, content))
    if packer_phase.kept.positions:
        await off_loop(write_word, guest.vm.seed, packer_phase.kept.token, NOBODY)
    group = _group_of(staged, input_disk, content)
    may_restart = await off_loop(asking_for_restart, packer_phase.steps)
    watch = StepWatch(packer_phase.vm_name, packer_phase.steps, may_restart)
    names = [mask(step.name) for step in packer_phase.steps]
    recorded = _resources_of(staged, packer_phase, memory_mib=group.memory_mib)
    async with (
        off_loop_with(lambda: _log_of(staged, packer_phase, guest.notice)) as log,
        off_loop_with(lambda: LogIndex(log.path)) as index,
        output_queue.opened(
            functools.partial(_write, log, index, names), functools.partial(_tell, staged, packer_phase)
        ) as queue,
        off_loop_with(lambda: resources(staged.group, staged.host.store, recorded, exist=True)),
    ):
        output, limit = PackerOutput(mask), OutputLimit()

        def noted(events: Sequence[PackerEvent]) -> list[object]:
            found: list[object] = []
            for event in events:
                found += [event, *(Said(mask(text)) for text in watch.note(event))]
                found += _parts_behind(packer_phase, watch.current, event)
            return found

        def tell(text: str) -> None:
            queue.add([Said(mask(text))])

        async def on_output(chunk: bytes) -> None:
            await limit.passed(len(chunk))
            await queue.put(noted(output.feed(chunk)), size_bytes=len(chunk))

        keeper = _keeper_of(staged, packer_phase, guest.vm.seed, tell)
        machine = _machine_of(staged, packer_phase, guest, is_kept=keeper is not None)

        async def booted_instead(reason: str) -> Machine:
            assert packer_phase.booted_instead is not None
            await packer_phase.booted_instead(reason)
            await off_loop(firmware_of, staged, packer_phase.vm_name)  # the other may have written its variables
            return replace(machine, saved=None)

        hold = Hold(entered, group, machine, guest.private_key, packer_phase.held_seconds, tell)
        pair = VmPair(
            container_group=container_group.describe(
                group, staged.network, name=container_group.machine_name(packer_phase.vm_name)
            ),
            vm=machine,
            booted_instead=booted_instead if packer_phase.booted_instead is not None else None,
            directory=staged.directory,
            on_output=on_output,
            log_lost=queue.lost,
            on_confinement=functools.partial(keep_confinement, staged),
            login=LoginWait(
                watch.is_connected,
                functools.partial(_warn, staged, queue),
                limit_seconds=guest.login_seconds,
                is_customized=packer_phase.phase is not Phase.CUSTOMIZING,
                question=guest.question,
                restart_seconds=guest.restart_seconds,
            ),
            steps=watch,
            tell=tell,
            report=guest.report,
            screen=(
                functools.partial(screen.watched, staged, tell, lambda: bool(watch.error))
                if guest.vm.profile.has_screen
                else None
            ),
            power_off_seconds=guest.power_off_seconds,
            keep=functools.partial(keeper.at_each, entered.namespace, watch.checkpoints) if keeper else None,
            on_failed=functools.partial(kept_then, staged, when_failed(hold)),
        )

        if guest.report is not None:
            guest.report.tell, guest.report.failed = tell, lambda reason: watch.never_ready(mask(reason))

        def refused(wanted: str) -> None:
            tell(f"the egress policy refuses {wanted} to the {packer_phase.vm_name}, in {watch.place}")

        with entered.refused.told_to(refused, lambda: watch.step), ending_told(queue, mask):
            outcome = await run_to_end(
                entered.namespace,
                pair,
                egress_lost=entered.egress_lost,
                may_power_off=lambda: packer_phase.power_off and watch.is_at_last_step,
                power_off=packer_phase.power_off,
            )
        queue.add(noted(output.finish()))
    peak = cast(PeakFacts, {f"{packer_phase.vm_name}_container_peak_kib": outcome.peak_memory_kib})
    went_on = {"container_went_on": outcome.group_went_on, "went_on": outcome.vm_went_on}
    start = cast(StartFacts, {f"{packer_phase.vm_name}_{name}": value for name, value in went_on.items()})
    await off_loop(staged.host.store.runs.add_facts, staged.request.run_id, **peak, **start)
    wanted = entered.refused.of_step(watch.step)
    return PhaseResult(outcome, watch.current, watch.error, watch.status, wanted)


def _group_of(staged: Staged, input_disk: Path, content: PackerInput) -> container_group.ContainerGroup:
    image, memory_mib = staged.host.container_image, container_group.memory_mib(content.process_count)
    return container_group.ContainerGroup(
        image.kernel,
        image.initramfs,
        image.disk,
        input_disk,
        staged.host.accelerator,
        memory_mib=memory_mib,
        saved=saved_group_of(staged.host.saved_group, staged.request.template.tags, memory_mib=memory_mib),
    )


def _machine_of(staged: Staged, packer_phase: PackerPhase, guest: Guest, *, is_kept: bool) -> Machine:
    """The VM, which can be saved where it is kept at its checkpoints, or held when a step fails; pure."""
    is_saveable = is_kept or packer_phase.held_seconds > 0
    machine = build_vm.describe(guest.vm, staged.network)
    return replace(machine, saved=packer_phase.start.saved, is_saveable=is_saveable, boots_plugged_in=is_saveable)


def _keeper_of(staged: Staged, packer_phase: PackerPhase, seed: Path, tell: Callable[[str], None]) -> Keeper | None:
    """Who keeps the VM at its checkpoints; none when nothing of the phase is kept."""
    if not packer_phase.kept.positions:
        return None
    return Keeper(
        build=packer_phase.kept,
        settings=staged.host.settings,
        seed=seed,
        disk=packer_phase.disks.os.path,
        source=staged.source.digest,
        run_id=staged.request.run_id,
        template=staged.request.template_name,
        instance_id=instance_id_of(staged, packer_phase),
        memory_mib=staged.shape.memory_mib,
        tell=tell,
    )


def saved_group_of(saved: SavedVm | None, tags: Mapping[str, str], *, memory_mib: int) -> SavedVm | None:
    """What a container group of so much memory goes on from; nothing when it is another's, or a tag wants it booted."""
    return None if wants_cold(tags) or memory_mib != container_group.MEMORY_MIB else saved


@dataclass(frozen=True)
class Remark:
    """A line of ours in the log, which is not told as Packer's output."""

    text: str
    kind: str


@dataclass(frozen=True)
class Said:
    """A sentence of ours in its place between the lines of the log, and told."""

    text: str


@contextlib.contextmanager
def ending_told(queue: OutputQueue, mask: SecretMask) -> Iterator[None]:
    """Why Packer's work ended early, with the end of the consoles, also in the log: a service's users read that one."""
    try:
        yield
    except (LogLost, CheckpointLost):
        raise  # there is nothing to write to, or it is no end
    except RunFailed as error:
        error.mask(mask)  # it is shown elsewhere, too, where nobody knows the guest's login
        _remark(queue, mask(f"{error.message}\n{error.hint or ''}"), kind="ERR")
        raise
    except asyncio.CancelledError as error:
        error.__notes__ = [mask(note) for note in getattr(error, "__notes__", ())]
        for note in error.__notes__:
            _remark(queue, note, kind="ERR")
        raise


async def keep_confinement(staged: Staged, machine: str, facts: list[Fact]) -> None:
    """Keep with the run what holds the process of one of its VMs."""
    kept = cast(ConfinementFacts, {f"{machine}{CONFINEMENT}": facts})
    await off_loop(staged.host.store.runs.add_facts, staged.request.run_id, **kept)


def _remark(queue: OutputQueue, text: str, *, kind: str) -> None:
    queue.add([Remark(line, kind) for line in text.splitlines()])


def _warn(staged: Staged, queue: OutputQueue, text: str) -> None:
    _remark(queue, staged.request.mask(f"warning: {text}"), kind="OUT")
    staged.tell(Notice(text, is_warning=True))


def _resources_of(
    staged: Staged, packer_phase: PackerPhase, *, memory_mib: int
) -> tuple[tuple[str, str, dict[str, object]], ...]:
    """What exists in the staging resource group while Packer works, as (type, name, detail); pure."""
    container_subnet, vm_subnet = staged.network.container_group_subnet, staged.network.build_vm_subnet
    return (
        (DISK, f"{packer_phase.vm_name}-os-disk", {"path": str(packer_phase.disks.os.path)}),
        *(
            (DISK, f"{packer_phase.vm_name}-data-disk-{lun}", {"path": str(disk.path), "lun": lun})
            for lun, disk in packer_phase.disks.data.items()
        ),
        (NETWORK_INTERFACE, f"{packer_phase.vm_name}-nic", {"address": str(vm_subnet.address), "mac": vm_subnet.mac}),
        (
            VIRTUAL_MACHINE,
            packer_phase.vm_name,
            {"vmSize": staged.shape.vm_size, "cpus": staged.shape.cpus, "memoryMiB": staged.shape.memory_mib},
        ),
        (
            CONTAINER_GROUP,
            f"vmimagebuilder-build-container-{staged.request.run_id[:10]}",
            {
                "containers": [container_group.CONTAINER_INSTANCE],
                "memoryMiB": memory_mib,
                "machine": container_group.machine_name(packer_phase.vm_name),
                "address": str(container_subnet.address),
            },
        ),
    )


def _write(log: CustomizationLog, index: LogIndex, names: Sequence[str], events: Sequence[object]) -> None:
    """Write what came together; `names` are those of the steps."""
    now = time.time()
    index.note(log.end, now)
    for event in events:
        match event:
            case StepReached(number) if 0 <= number < len(names):
                index.step = names[number]
                index.note(log.end, now)
            case Line(text, speaker):
                log.write(text, kind="ERR" if speaker is Speaker.ERROR else "OUT")
            case Remark(text, kind):
                log.write(text, kind=kind)
            case Said(text):
                log.write(text)
    NEWS.tell(log.run_id)


def _tell(staged: Staged, packer_phase: PackerPhase, event: object) -> None:
    steps = packer_phase.steps
    match event:
        case Line(text, speaker):
            staged.tell(LogLine(packer_phase.phase, text, speaker))
        case Said(text):
            staged.tell(Notice(text))
        case PartStarted() | PartEnded():
            staged.tell(event)
        case StepReached(index) if 0 <= index < len(steps):
            staged.tell(_told_step(packer_phase, index))


def _parts_behind(packer_phase: PackerPhase, step: AnyStep | None, event: PackerEvent) -> list[PartStarted | PartEnded]:
    """What begins when a step's script has succeeded, and ends when the VM goes on behind its checkpoint; pure."""
    match event:
        case ScriptEnded(0) if isinstance(step, Deprovision):
            return [PartStarted(PartKind.POWER_OFF)]
        case ScriptEnded(0) if not isinstance(step, Checkpoint) and (checkpoint := checkpoint_of(step)) is not None:
            return [PartStarted(PartKind.CHECKPOINT, packer_phase.kept.at(checkpoint.number).step)]
        case CheckpointLeft() if (checkpoint := checkpoint_of(step)) is not None:
            return [PartEnded(PartKind.CHECKPOINT, packer_phase.kept.at(checkpoint.number).step)]
        case _:
            return []


def _told_step(packer_phase: PackerPhase, index: int) -> StepStarted | PartStarted:
    """What is told when Packer begins a step: a customizer by its number among all of the template; pure."""
    steps, before = packer_phase.steps, packer_phase.begins_behind
    step = steps[index]
    if isinstance(step, Checkpoint):
        return PartStarted(PartKind.CHECKPOINT, packer_phase.kept.at(step.number).step)
    number, count = (sum(not isinstance(one, HIDDEN_STEPS) for one in some) for some in (steps[:index], steps))
    return StepStarted(packer_phase.phase, before + number, before + count, step.name)


def _log_of(staged: Staged, packer_phase: PackerPhase, notice: str) -> CustomizationLog:
    path = staged.group.storage_account.blob(f"{LOGS}/{staged.request.run_id}/{packer_phase.log_name}")
    log = CustomizationLog(path, staged.request.run_id)
    if staged.host.emulation_notice:
        log.write(f"warning: {staged.host.emulation_notice}")
    if notice:
        log.write(f"warning: {notice}")
    return log
