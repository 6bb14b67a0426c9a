"""A disk started on a throw-away overlay with its serial console on this terminal; no network at all."""

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from vmkiln.azure_names import Architecture
from vmkiln.host import command
from vmkiln.host.disk.disk_image import create_overlay
from vmkiln.host.disk.firmware import FirmwareFiles
from vmkiln.host.qemu import BOARDS, SANDBOX, Accelerator, Disk, accelerator_for, block_arguments, cpu_model
from vmkiln.waiting.off_loop import off_loop, off_loop_with


def boot_arguments(
    overlay: Disk,
    *,
    accelerator: Accelerator,
    memory_mib: int,
    cpus: int,
    firmware: tuple[Path, Path] | None,
    architecture: Architecture = Architecture.X64,
    data_disks: Sequence[Disk] = (),
) -> list[str]:
    """QEMU's arguments: a serial console on standard input and output (Ctrl-A X ends it), no network; pure."""
    board, flash = BOARDS[architecture], []
    if firmware is not None:
        flash = [
            "-drive", f"if=pflash,format=raw,unit=0,readonly=on,file={firmware[0]}",
            "-drive", f"if=pflash,format=raw,unit=1,file={firmware[1]}",
        ]  # fmt: skip
    return [
        board.program,
        "-nodefaults", "-no-user-config", "-display", "none", "-sandbox", SANDBOX,
        "-machine", f"{board.machine.partition(',')[0]},accel={accelerator}",
        "-cpu", cpu_model(accelerator, architecture),
        "-smp", str(cpus), "-m", f"{memory_mib}M",
        "-device", "virtio-rng-pci",
        "-serial", "mon:stdio",
        *flash,
        *(text for index, disk in enumerate((overlay, *data_disks)) for text in block_arguments(index, disk)),
    ]  # fmt: skip


async def boot_with_console(
    disk: Disk,
    *,
    workplace: Path,
    accelerator: Accelerator,
    memory_mib: int,
    cpus: int,
    firmware: FirmwareFiles | None,
    architecture: Architecture = Architecture.X64,
    data_disks: Sequence[Disk] = (),
) -> int:
    """Start the disk and wait until it powers off; no disk is changed. Returns QEMU's exit status."""
    await off_loop(workplace.mkdir, parents=True, exist_ok=True, mode=0o700)
    async with off_loop_with(lambda: tempfile.TemporaryDirectory(prefix=".booting-", dir=workplace)) as folder:
        overlay = await create_overlay(disk, Path(folder) / "overlay.qcow2")
        overlay = Disk(overlay.path, overlay.format, backing=disk, is_boot=True)
        others = [
            replace(await create_overlay(other, Path(folder) / f"overlay-{index}.qcow2"), serial=other.serial)
            for index, other in enumerate(data_disks)
        ]
        files = None
        if firmware is not None:
            variables = Path(folder) / "variables.fd"
            await off_loop(shutil.copyfile, firmware.variables, variables)
            files = (firmware.code, variables)
        arguments = boot_arguments(
            overlay,
            accelerator=accelerator_for(architecture, accelerator),
            memory_mib=memory_mib,
            cpus=cpus,
            firmware=files,
            architecture=architecture,
            data_disks=others,
        )
        async with command.start(arguments, stdin=None, stdout=None, stderr=None, new_session=False) as process:
            return await process.wait()
