"""The steps of a template as Packer's: customizers and validations with the copies of their scripts; pure."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from vmkiln.errors import InputError
from vmkiln.packer.packer_template import FileCopy, InlineShell, ScriptShell, Step
from vmkiln.template.customizers.file import FileCustomizer
from vmkiln.template.customizers.shell import ShellCustomizer
from vmkiln.template.image_template import Customizer
from vmkiln.template.validation import InVmValidation
from vmkiln.windows.steps import Copied, WindowsStep, windows_step

CUSTOMIZE = "properties.customize"
VALIDATIONS = "properties.validate.inVMValidations"


def packer_steps(
    steps: Sequence[Customizer | InVmValidation], copies: Mapping[str, Path], *, where: str
) -> tuple[Step, ...]:
    """Packer's steps. `copies` has the file of each external script by its address's place in the template.

    Raises: `InputError` for a kind of step that Linux VMs do not have.
    """
    return tuple(_step(step, f"{where}[{index}]", index, copies) for index, step in enumerate(steps))


def windows_steps(
    steps: Sequence[Customizer | InVmValidation], copies: Mapping[str, Copied], *, where: str
) -> tuple[WindowsStep, ...]:
    """The steps of a Windows template; `copies` as for `packer_steps`.

    Raises: `InputError` for a kind of step that Windows VMs do not have.
    """
    return tuple(_of_windows(step, f"{where}[{index}]", index, copies) for index, step in enumerate(steps))


def _of_windows(step: Customizer | InVmValidation, path: str, index: int, copies: Mapping[str, Copied]) -> WindowsStep:
    if isinstance(step, ShellCustomizer):
        raise InputError(f"{path}: Shell runs in Linux, and the image is one of Windows", hint="use PowerShell")
    return windows_step(step, step.name or f"{step.type} {index + 1}", path, copies)


def _step(step: Customizer | InVmValidation, path: str, index: int, copies: Mapping[str, Path]) -> Step:
    name = step.name or f"{step.type} {index + 1}"
    match step:
        case ShellCustomizer() if step.script_uri:
            return ScriptShell(name, path, copies[f"{path}.scriptUri"])
        case ShellCustomizer():
            return InlineShell(name, path, step.inline)
        case FileCustomizer():
            return FileCopy(name, path, copies[f"{path}.sourceUri"], step.destination)
        case _:
            raise InputError(
                f"{path}: {step.type} runs in Windows, and the image is one of Linux",
                hint="use Shell",
            )
