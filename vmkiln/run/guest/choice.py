"""Which guest a run has: the one of its source's operating system, with its steps; what both kinds have in common.

The source is asked and not the template: of an image of the user's own a template says nothing.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from vmkiln.packer.packer_template import Deprovision, InlineShell
from vmkiln.run.guest import linux_guest, windows_guest
from vmkiln.run.guest.guest import Guest
from vmkiln.run.guest.order import AnyStep, PackerPhase
from vmkiln.run.run_context import Staged
from vmkiln.run.run_event import Notice
from vmkiln.run.steps import packer_steps, windows_steps
from vmkiln.template.image_template import Customizer, OnError
from vmkiln.template.source import OsType
from vmkiln.template.validation import InVmValidation
from vmkiln.windows.steps import Copied, PowerShell, WindowsDeprovision, copied

NOT_HELD = "a Windows VM is not held when a customizer fails, whatever `--on-error` says: it has no way in"
BOOT = "boot"  # the step that only shows that a script runs


def is_windows(staged: Staged) -> bool:
    """Whether the run's VMs are Windows; pure."""
    return staged.source.os_type == OsType.WINDOWS


def described(staged: Staged, order: PackerPhase) -> Guest:
    """The guest of a phase. Raises: as `linux_guest.described` and `windows_guest.described`."""
    return windows_guest.described(staged, order) if is_windows(staged) else linux_guest.described(staged, order)


def steps_of(staged: Staged, steps: Sequence[Customizer | InVmValidation], *, where: str) -> tuple[AnyStep, ...]:
    """The steps for the run's guest; of Windows it reads every copied file. Raises: `InputError` for another's."""
    if not is_windows(staged):
        return packer_steps(steps, staged.copies, where=where)
    return windows_steps(steps, _examined(staged.copies, where), where=where)


def last_step(staged: Staged) -> AnyStep:
    """The hidden last step of customizing; pure."""
    return WindowsDeprovision() if is_windows(staged) else Deprovision()


def held_seconds(staged: Staged) -> int:
    """How long the build VM is held when a customizer fails, as the command or the template asks.

    A Windows VM is not, and whose command asked for it is told.
    """
    asked = staged.request.held_seconds
    if is_windows(staged):
        if asked:
            staged.tell(Notice(NOT_HELD, is_warning=True))
        return 0
    if staged.request.template.properties.error_handling.on_customizer_error is OnError.ABORT:
        return asked or staged.host.settings.held_minutes * 60
    return asked


def boot_step(staged: Staged) -> AnyStep:
    """A script that does nothing; pure."""
    return PowerShell(BOOT, "", ("exit 0",)) if is_windows(staged) else InlineShell(BOOT, "", ("true",))


def _examined(copies: Mapping[str, Path], where: str) -> dict[str, Copied]:
    return {place: copied(file) for place, file in copies.items() if place.startswith(f"{where}[")}
