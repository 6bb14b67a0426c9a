"""One phase of Packer's work on a VM: its input disk, its seed, its two machines, its log, its events.

Customizing and validating differ only in the steps, the disk and what a failure means.

*Leaves behind:* the VM's overlay in the run's folder, and the log. *Undone by:* the deletion of the run's folder.
*Safe to repeat:* with a new overlay.
"""

import asyncio
import contextlib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

from vmkiln.azure_names import CONTAINER_GROUP, DISK, NETWORK_INTERFACE, VIRTUAL_MACHINE
from vmkiln.errors import HostUnfit, LogLost, RunFailed
from vmkiln.host.disk.ext4_image import make_ext4
from vmkiln.host.disk.iso_image import make_iso
from vmkiln.host.qemu import Disk, Firmware
from vmkiln.packer.packer_output import BuildError, Connected, Line, PackerOutput, Speaker, StepReached
from vmkiln.packer.packer_template import Connection, Deprovision, PackerInput, Step, packer_input
from vmkiln.run.login_wait import LOGIN_SECONDS, LoginWait
from vmkiln.run.run_context import Entered, Staged
from vmkiln.run.run_event import LogLine, Notice, StepStarted
from vmkiln.run.vm_pair import Outcome, VmPair, work
from vmkiln.run_state import Phase
from vmkiln.secret_mask import SecretMask
from vmkiln.staging import build_vm, cloud_init_seed, container_group
from vmkiln.staging.customization_log import CustomizationLog
from vmkiln.staging.login_key import new_key
from vmkiln.staging.staging_resource_group import resource
from vmkiln.staging.storage_account import LOGS
from vmkiln.store.run_facts import PeakFacts

LATER_SECONDS = 60


@dataclass(frozen=True)
class PackerPhase:
    """What to do: the phase, the VM's name, the steps, the VM's disk, the log's file name."""

    phase: Phase
    vm_name: str
    steps: tuple[Step, ...]
    disk: Disk
    log_name: str
    power_off: bool


@dataclass
class Progress:
    """Where Packer is, as its own output tells; `error` is what it said about a failure."""

    step: int = -1
    error: str = ""
    is_connected: asyncio.Event = field(default_factory=asyncio.Event)

    def is_past(self, steps: Sequence[Step]) -> bool:
        """Whether the last step began: from then on the VM may power itself off."""
        return self.step == len(steps) - 1


@dataclass(frozen=True)
class PhaseResult:
    """How Packer's work ended: its exit status, the step it was at, and what it said."""

    outcome: Outcome
    step: Step | None
    error: str


def connection(staged: Staged, private_key: str) -> Connection:
    """How Packer logs in; it gives up a little later than `login_wait.py`, which knows what the console says."""
    timeout = min(LOGIN_SECONDS + LATER_SECONDS, staged.request.template.build_timeout_seconds)
    return Connection(
        container_group.RELAY_PORT, cloud_init_seed.USER, private_key, timeout, cloud_init_seed.SCRIPT_FOLDER
    )


async def carry_out(entered: Entered, work_order: PackerPhase) -> PhaseResult:
    """Do the phase's work.

    Raises: `VirtualMachineLost` when a VM ends too early, `LoginTimedOut` when Packer cannot log in.
    """
    staged = entered.staged
    login = new_key(cloud_init_seed.KEY_COMMENT)
    seed = staged.directory / f"{work_order.vm_name}-seed.iso"
    seed_contents = cloud_init_seed.contents(
        instance_id=f"{staged.request.run_id}-{work_order.vm_name}",
        host_name=cloud_init_seed.HOST_NAME,
        network=staged.network,
        login=login,
        host_key=new_key("host"),
    )
    input_disk = staged.directory / f"{work_order.vm_name}-input.ext4"
    content = packer_input(work_order.steps, connection(staged, login.private))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(make_iso(seed, seed_contents, label=cloud_init_seed.LABEL))
        tasks.create_task(_make_input_disk(input_disk, content))
    image = staged.host.container_image
    group = container_group.ContainerGroup(
        image.kernel,
        image.initramfs,
        image.disk,
        input_disk,
        staged.host.accelerator,
        memory_mib=container_group.memory_mib(content.process_count),
    )
    vm = build_vm.BuildVm(
        name=work_order.vm_name,
        cpus=staged.shape.cpus,
        memory_mib=staged.shape.memory_mib,
        disk=replace(work_order.disk, is_boot=True),
        seed=seed,
        accelerator=staged.host.accelerator,
        firmware=_firmware(staged, work_order.vm_name),
    )
    log_path = staged.group.storage_account.blob(f"{LOGS}/{staged.request.run_id}/{work_order.log_name}")
    progress = Progress()
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(CustomizationLog(log_path, staged.request.run_id))
        if staged.host.emulation_notice:
            log.write(f"warning: {staged.host.emulation_notice}")
        _record(stack, staged, work_order, memory_mib=group.memory_mib)
        output = PackerOutput(staged.request.mask)
        pair = VmPair(
            container_group=container_group.describe(group, staged.network, name=f"container-{work_order.vm_name}"),
            vm=build_vm.describe(vm, staged.network),
            directory=staged.directory,
            on_output=lambda chunk: _tell(staged, work_order, log, progress, output.feed(chunk)),
            login=LoginWait(progress.is_connected, lambda text: _warn(staged, log, text)),
        )
        with ending_told(log, staged.request.mask):
            outcome = await work(
                entered.namespace,
                pair,
                egress_lost=entered.egress_lost,
                may_power_off=lambda: work_order.power_off and progress.is_past(work_order.steps),
                power_off=work_order.power_off,
            )
        _tell(staged, work_order, log, progress, output.finish())
    peak = cast(PeakFacts, {f"{work_order.vm_name}_container_peak_kib": outcome.peak_memory_kib})
    staged.host.store.runs.add_facts(staged.request.run_id, **peak)
    reached = work_order.steps[progress.step] if 0 <= progress.step < len(work_order.steps) else None
    return PhaseResult(outcome, reached, progress.error)


@contextlib.contextmanager
def ending_told(log: CustomizationLog, mask: SecretMask) -> Iterator[None]:
    """Why Packer's work ended early, with the end of the consoles, also in the log: a service's users read that one."""
    try:
        yield
    except LogLost:
        raise  # there is nothing to write to
    except RunFailed as error:
        _write_lines(log, mask(f"{error.message}\n{error.hint or ''}"))
        raise
    except asyncio.CancelledError as error:
        for note in getattr(error, "__notes__", ()):
            _write_lines(log, mask(note))
        raise


def _write_lines(log: CustomizationLog, text: str) -> None:
    for line in text.splitlines():
        log.write(line, kind="ERR")


def _warn(staged: Staged, log: CustomizationLog, text: str) -> None:
    log.write(staged.request.mask(f"warning: {text}"))
    staged.tell(Notice(text, is_warning=True))


def _record(stack: contextlib.ExitStack, staged: Staged, work_order: PackerPhase, *, memory_mib: int) -> None:
    """Record what is about to exist; each is recorded as gone when the stack closes."""
    container_subnet, vm_subnet = staged.network.container_group_subnet, staged.network.build_vm_subnet
    entries: tuple[tuple[str, str, dict[str, object]], ...] = (
        (DISK, f"{work_order.vm_name}-os-disk", {"path": str(work_order.disk.path)}),
        (NETWORK_INTERFACE, f"{work_order.vm_name}-nic", {"address": str(vm_subnet.address), "mac": vm_subnet.mac}),
        (
            VIRTUAL_MACHINE,
            work_order.vm_name,
            {"vmSize": staged.shape.vm_size, "cpus": staged.shape.cpus, "memoryMiB": staged.shape.memory_mib},
        ),
        (
            CONTAINER_GROUP,
            f"vmimagebuilder-build-container-{staged.request.run_id[:10]}",
            {
                "containers": [container_group.CONTAINER_INSTANCE],
                "memoryMiB": memory_mib,
                "address": str(container_subnet.address),
            },
        ),
    )
    for type_, name, detail in entries:
        number = stack.enter_context(resource(staged.group, staged.host.store, type=type_, name=name, detail=detail))
        staged.host.store.staging.resource_exists(number)


def _tell(
    staged: Staged, work_order: PackerPhase, log: CustomizationLog, progress: Progress, events: Sequence[object]
) -> None:
    for event in events:
        match event:
            case Line(text, speaker):
                log.write(text, kind="ERR" if speaker is Speaker.ERROR else "OUT")
                staged.tell(LogLine(work_order.phase, text, speaker))
            case Connected():
                progress.is_connected.set()
            case StepReached(index) if 0 <= index < len(work_order.steps):
                progress.step = index
                count = sum(not isinstance(step, Deprovision) for step in work_order.steps)
                staged.tell(StepStarted(work_order.phase, index, count, work_order.steps[index].name))
            case BuildError(text):
                progress.error = text


async def _make_input_disk(image: Path, content: PackerInput) -> None:
    folder = image.with_suffix("")
    folder.mkdir(mode=0o700)
    for file in content.files:
        target = folder / file.name
        if file.source is not None:
            await asyncio.to_thread(shutil.copyfile, file.source, target)
        else:
            target.write_text(file.text or "")
    await make_ext4(image, folder)
    await asyncio.to_thread(shutil.rmtree, folder)


def _firmware(staged: Staged, vm_name: str) -> Firmware | None:
    """UEFI with variables of the VM's own for generation 2; none for generation 1."""
    if staged.source.generation == 1:
        return None
    files = staged.host.firmware
    if files is None:
        raise HostUnfit("a generation 2 image needs UEFI firmware", hint="install the package `ovmf`")
    variables = staged.directory / f"{vm_name}-variables.fd"
    shutil.copyfile(files.variables, variables)
    variables.chmod(0o600)
    return Firmware(files.code, variables)
