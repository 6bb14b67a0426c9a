"""`validate`: what is tried in a fresh validation VM, and whether a failure stops the distribution.

Source: docs/reference/image-template.md#validation; docs/reference/behaviour.md#validating.
"""

from typing import Annotated

from pydantic import Field

from vmkiln.template.customizers.file import FileCustomizer
from vmkiln.template.customizers.powershell import PowerShellCustomizer
from vmkiln.template.customizers.shell import ShellCustomizer
from vmkiln.template.part import Part

InVmValidation = Annotated[ShellCustomizer | PowerShellCustomizer | FileCustomizer, Field(discriminator="type")]


class Validation(Part):
    """The validations, in order. With `source_validation_only` the source is validated and nothing is built."""

    continue_distribute_on_failure: bool = False
    source_validation_only: bool = False
    in_vm_validations: tuple[InVmValidation, ...] = Field(default=(), alias="inVMValidations")
