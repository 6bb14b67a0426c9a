"""One phase of Packer's work on a VM, as it is asked for: what is to be done, on which disks, from what on."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from vmkiln.packer.packer_template import Checkpoint, Deprovision, Step
from vmkiln.run.checkpoints.kept_builds import NOTHING_KEPT, KeptBuild
from vmkiln.run.run_context import Disks
from vmkiln.run_state import Phase
from vmkiln.warm.saved_base import BOOTED, BaseStart
from vmkiln.windows.steps import WindowsDeprovision, WindowsStep

LAST_STEPS = (Deprovision, WindowsDeprovision)  # which no template names
HIDDEN_STEPS = (Checkpoint, *LAST_STEPS)
AnyStep = Step | WindowsStep


@dataclass(frozen=True)
class PackerPhase:
    """What to do: the phase, the VM's name, the steps, the VM's disks, the log's file name, what the VM begins from.

    `booted_instead` is called with the reason when that is of no use, and makes the disk that is booted.
    `held_seconds` is how long the VM is held when Packer fails; 0: not at all.
    `kept` is what may be kept of it, and how many customizers were done before the first of the steps.
    """

    phase: Phase
    vm_name: str
    steps: tuple[AnyStep, ...]
    disks: Disks
    log_name: str
    power_off: bool
    start: BaseStart = BOOTED
    booted_instead: Callable[[str], Awaitable[None]] | None = None
    held_seconds: int = 0
    kept: KeptBuild = NOTHING_KEPT
    begins_behind: int = 0
