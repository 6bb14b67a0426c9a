"""What has to be the same for a VM to go on from another: QEMU with its firmware, the machine, under KVM the host."""

import asyncio
import platform
from dataclasses import replace
from pathlib import Path

from vmkiln.host.confinement.program_files import program_files
from vmkiln.host.qemu import BOARDS, Accelerator, Machine, arguments
from vmkiln.waiting.off_loop import off_loop
from vmkiln.warm.program_digest import digest_of_files


async def machine_facts(machine: Machine) -> dict[str, object]:
    """The facts of a machine by their names; what boots in it is its caller's to add. Raises: `OSError`."""
    files = await program_files(BOARDS[machine.architecture].program)
    facts: dict[str, object] = {
        "arguments": arguments(replace(machine, is_saveable=True, saved=None)),
        "program": await asyncio.to_thread(digest_of_files, files.files),
    }
    if machine.accelerator is Accelerator.KVM:
        facts["host"] = [platform.release(), await off_loop(_cpu)]
    return facts


def _cpu() -> list[str]:
    """What the kernel says of the first CPU, but for what changes all the time."""
    first, _, _ = Path("/proc/cpuinfo").read_text().partition("\n\n")
    return [line for line in first.splitlines() if not line.startswith(("cpu MHz", "bogomips"))]
