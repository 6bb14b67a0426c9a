"""An image template: what to start from, what to do to it, how to try it, and where the results go.

Source of every field and rule: docs/reference/image-template.md#template (api-version 2025-10-01); of the timeout,
docs/reference/behaviour.md#time-out.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from vmkiln.arm_template.json_path import member_path
from vmkiln.azure_locations import usual_location
from vmkiln.azure_names import RESOURCE_GROUP
from vmkiln.errors import Mistake
from vmkiln.template.customizers.file import FileCustomizer
from vmkiln.template.customizers.powershell import PowerShellCustomizer
from vmkiln.template.customizers.shell import ShellCustomizer
from vmkiln.template.customizers.windows_restart import WindowsRestartCustomizer
from vmkiln.template.customizers.windows_update import WindowsUpdateCustomizer
from vmkiln.template.distribute_target import DistributeTarget, published_as
from vmkiln.template.part import Location, Part, ScriptAddress, Sha256Checksum, resource_id_of
from vmkiln.template.source import OsType, PlatformImageSource, Source, os_type_of_platform_image
from vmkiln.template.validation import Validation
from vmkiln.template.vm_profile import Size, VmProfile

Customizer = Annotated[
    ShellCustomizer | PowerShellCustomizer | FileCustomizer | WindowsRestartCustomizer | WindowsUpdateCustomizer,
    Field(discriminator="type"),
]
MOST_SCRIPTS = 500  # scripts and files that one template names, copied for each run
OS_OF_CUSTOMIZER = {
    "Shell": OsType.LINUX,
    "PowerShell": OsType.WINDOWS,
    "WindowsRestart": OsType.WINDOWS,
    "WindowsUpdate": OsType.WINDOWS,
}


class OnOff(StrEnum):
    """Whether something is switched on."""

    ENABLED = "Enabled"
    DISABLED = "Disabled"


class OnError(StrEnum):
    """What happens to the build VM after a failure: deleted, or kept for its owner to look at."""

    CLEANUP = "cleanup"
    ABORT = "abort"


class VmBootOptimization(Part):
    """`vmBoot`: make VMs of the image start faster."""

    state: OnOff = OnOff.DISABLED


class WorkloadOptimization(Part):
    """`workload`: run a script that shows the image's work (api-version 2025-10-01)."""

    state: OnOff = OnOff.DISABLED
    script_uri: ScriptAddress = ""
    sha256_checksum: Sha256Checksum = ""


class Optimize(Part):
    """What is made faster in the image."""

    since = {"workload": "2025-10-01"}  # noqa: RUF012 (never changed)
    vm_boot: VmBootOptimization = VmBootOptimization()
    workload: WorkloadOptimization = WorkloadOptimization()


class ErrorHandling(Part):
    """What happens after a failed customizer or validation (section 3.5)."""

    on_customizer_error: OnError = OnError.CLEANUP
    on_validation_error: OnError = OnError.CLEANUP


class AutoRun(Part):
    """Whether a build starts as soon as the template exists (section 3.11)."""

    state: OnOff = OnOff.DISABLED


class DataDisk(Part):
    """A data disk of the image, in GB."""

    size_gb: Size = Field(default=0, alias="sizeGB")


class AssignedIdentity(Part):
    """The value beside an identity's id: empty in requests."""

    read_only = frozenset({"principalId", "clientId"})


class Identity(Part):
    """The identity that scripts in storage accounts were read with; a local build uses none."""

    read_only = frozenset({"principalId", "tenantId"})
    type: Literal["UserAssigned", "None"] = "None"
    user_assigned_identities: dict[str, AssignedIdentity] = Field(default_factory=dict)


class ImageTemplateProperties(Part):
    """The build itself. `build_timeout_in_minutes` covers everything from customization to distribution."""

    read_only = frozenset({"provisioningState", "provisioningError", "lastRunStatus", "exactStagingResourceGroup"})
    zero_means_default = frozenset({"buildTimeoutInMinutes"})
    since = {  # noqa: RUF012 (never changed)
        "validate": "2022-02-14",
        "stagingResourceGroup": "2022-02-14",
        "optimize": "2022-07-01",
        "errorHandling": "2023-07-01",
        "autoRun": "2024-02-01",
        "managedResourceTags": "2024-02-01",
        "additionalDataDisks": "2025-10-01",
    }
    source: Source
    customize: tuple[Customizer, ...] = ()
    optimize: Optimize = Optimize()
    validation: Validation = Field(default=Validation(), alias="validate")
    distribute: tuple[DistributeTarget, ...]
    error_handling: ErrorHandling = ErrorHandling()
    build_timeout_in_minutes: Annotated[int, Field(ge=6, le=960)] = 240
    vm_profile: VmProfile = VmProfile()
    additional_data_disks: tuple[DataDisk, ...] = ()
    staging_resource_group: Annotated[str, resource_id_of(RESOURCE_GROUP)] | None = None
    auto_run: AutoRun = AutoRun()
    managed_resource_tags: dict[str, str] = Field(default_factory=dict)

    @classmethod
    def mistakes_in(cls, body: Mapping[str, Any], path: str) -> Iterator[Mistake]:
        """Each run output has a name of its own, and no two targets publish the same."""
        seen: dict[str, int] = {}
        targets = body.get("distribute")
        yield from _published_twice(targets, member_path(path, "distribute"))
        for index, target in enumerate(targets if isinstance(targets, list) else []):
            name = target.get("runOutputName") if isinstance(target, dict) else None
            if not isinstance(name, str) or not name:
                continue
            first = seen.setdefault(name.lower(), index)
            if first != index:
                where = member_path(member_path(member_path(path, "distribute"), index), "runOutputName")
                yield Mistake(where, f"`{name}` is also the name of distribute[{first}]; each target needs its own")


def _published_twice(targets: Any, path: str) -> Iterator[Mistake]:
    """Targets of which only one could be published."""
    seen: dict[tuple[str, str], int] = {}
    for index, target in enumerate(targets if isinstance(targets, list) else []):
        published = published_as(target) if isinstance(target, dict) else ("", "")
        if not published[0]:
            continue
        first = seen.setdefault(published, index)
        if first != index:
            where = member_path(member_path(path, index), published[0])
            yield Mistake(where, f"is what distribute[{first}] publishes; each target needs its own")


@dataclass(frozen=True)
class ExternalFile:
    """A script or file that a step takes from an address: the address's place in the template, and the checksum."""

    path: str
    uri: str
    sha256_checksum: str


class ImageTemplate(Part):
    """A template that was found free of mistakes; `warnings` are sentences on what was odd but let pass."""

    location: Annotated[Location, AfterValidator(usual_location)]
    tags: dict[str, str] = Field(default_factory=dict)
    identity: Identity | None = None
    properties: ImageTemplateProperties
    warnings: tuple[str, ...] = ()

    @property
    def build_timeout_seconds(self) -> int:
        """How long the whole run may take."""
        return self.properties.build_timeout_in_minutes * 60

    @property
    def os_type(self) -> OsType | None:
        """The source's operating system, from its publisher or from the customizers; None if nothing tells."""
        source = self.properties.source
        if isinstance(source, PlatformImageSource):
            known = os_type_of_platform_image(source.publisher, source.offer)
            if known:
                return known
        steps = (*self.properties.customize, *self.properties.validation.in_vm_validations)
        return next((OS_OF_CUSTOMIZER[step.type] for step in steps if step.type in OS_OF_CUSTOMIZER), None)

    @property
    def scripts(self) -> tuple[ExternalFile, ...]:
        """Every script and file that steps take from an address, in the order of use."""
        customize = enumerate(self.properties.customize)
        validations = enumerate(self.properties.validation.in_vm_validations)
        found = [_external_file(f"properties.customize[{index}]", step) for index, step in customize]
        workload = self.properties.optimize.workload
        if workload.script_uri:
            where = "properties.optimize.workload.scriptUri"
            found.append(ExternalFile(where, workload.script_uri, workload.sha256_checksum))
        found += [_external_file(f"properties.validate.inVMValidations[{index}]", step) for index, step in validations]
        return tuple(file for file in found if file)


def _external_file(path: str, step: Customizer) -> ExternalFile | None:
    match step:
        case ShellCustomizer() | PowerShellCustomizer() if step.script_uri:
            return ExternalFile(f"{path}.scriptUri", step.script_uri, step.sha256_checksum)
        case FileCustomizer():
            return ExternalFile(f"{path}.sourceUri", step.source_uri, step.sha256_checksum)
    return None
