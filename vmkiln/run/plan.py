"""What a build would do, without doing any of it."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface
from pathlib import Path
from typing import Any

from vmkiln.arm_template.local_outputs import outputs_as_data, outputs_lines
from vmkiln.azure_names import (
    CONTAINER_GROUP,
    DISK,
    NETWORK_INTERFACE,
    STORAGE_ACCOUNT,
    VIRTUAL_MACHINE,
    Architecture,
)
from vmkiln.buildable.examination import Verdict
from vmkiln.errors import ImageNotFound, InputError
from vmkiln.fetching.guest_way_out import guest_way_out_of
from vmkiln.host.egress.egress_policy import OPEN_EGRESS, EgressPolicy
from vmkiln.host.network import host_watch
from vmkiln.host.network.flow_bounds import bounds_of
from vmkiln.host.network.network_namespace import Allowance
from vmkiln.packer.packer_template import Connection, Deprovision, packer_input, shown
from vmkiln.packer.windows_template import WINRM_SECONDS, WinRmConnection, windows_input
from vmkiln.packer.windows_template import shown as shown_windows
from vmkiln.platform_images.image_reference import reference_of
from vmkiln.platform_images.platform_image import plan_platform_image
from vmkiln.run import customizing, validating
from vmkiln.run.checkpoints.kept_builds import why_none
from vmkiln.run.checkpoints.repeating import NO_CACHE
from vmkiln.run.run_context import RunRequest
from vmkiln.run.starts.build_vm_start import why_booted
from vmkiln.run.steps import CUSTOMIZE, VALIDATIONS, packer_steps, windows_steps
from vmkiln.run.vm_shape import wanted_memory_mib
from vmkiln.settings import Settings
from vmkiln.staging import cloud_init_seed, container_group, virtual_network
from vmkiln.staging.staging_resource_group import group_name, group_tags
from vmkiln.staging.topology import Topology, user_subnets_of
from vmkiln.staging.user_network import UserVirtualNetwork
from vmkiln.staging.virtual_network import VirtualNetwork
from vmkiln.template.image_template import ImageTemplate
from vmkiln.template.resource_id import parse_resource_id
from vmkiln.template.source import OsType, PlatformImageSource
from vmkiln.template.template_file import ResolvedTemplate
from vmkiln.template.vm_size import build_vm_size
from vmkiln.waiting.off_loop import off_loop
from vmkiln.warm.checkpoint import scope_of, scopes_beside, told_of
from vmkiln.windows.steps import Copied, WindowsDeprovision

GUID = "<guid>"
MOST_KEPT = 20  # places that are told


@dataclass(frozen=True)
class Wishes:
    """What a build is asked for beside its template, as `RunRequest` has it; `resumed_run` is the run gone on with."""

    uses_checkpoints: bool = True
    most_checkpoint_age_seconds: float = RunRequest.most_checkpoint_age_seconds
    held_seconds: int = 0
    resumed_run: str = ""


AS_USUAL = Wishes()


async def plan_of(
    resolved: ResolvedTemplate,
    *,
    resource_group: str,
    verdict: Verdict,
    settings: Settings,
    allowances: Sequence[Allowance],
    egress: EgressPolicy = OPEN_EGRESS,
    virtual_networks: Mapping[str, UserVirtualNetwork] | None = None,
    wishes: Wishes = AS_USUAL,
) -> dict[str, Any]:
    """The plan of a build on this machine as plain data; `verdict` is what `buildable.examine` found."""
    return await off_loop(
        plan_with,
        resolved,
        resource_group=resource_group,
        verdict=verdict,
        settings=settings,
        allowances=allowances,
        addresses=await host_watch.host_addresses(),
        egress=egress,
        virtual_networks=virtual_networks,
        wishes=wishes,
    )


def plan_with(
    resolved: ResolvedTemplate,
    *,
    resource_group: str,
    verdict: Verdict,
    settings: Settings,
    allowances: Sequence[Allowance] = (),
    addresses: Sequence[IPv4Interface] = (),
    egress: EgressPolicy = OPEN_EGRESS,
    virtual_networks: Mapping[str, UserVirtualNetwork] | None = None,
    template_id: str = "",
    wishes: Wishes = AS_USUAL,
) -> dict[str, Any]:
    """The plan as plain data; `addresses` are those that the machine has, `egress` what the build may reach.

    `template_id` is that of a template that the service keeps; reads the cache of images and what is kept of builds.
    """
    template = resolved.image_template
    own_group = template.properties.staging_resource_group
    name = parse_resource_id(own_group).name if own_group else group_name(resource_group, resolved.name, GUID)
    problems = [str(problem) for problem in (*verdict.problems, *verdict.needs_permission)]
    source, generation = _source(template, settings)
    net = _network(template, virtual_networks or {}, addresses, allowances=allowances, egress=egress, settings=settings)
    scope = scope_of(template_id=template_id, resource_group=resource_group, name=resolved.name)
    plan = {
        "name": resolved.name,
        "api_version": resolved.api_version,
        "template": dict(resolved.resolved),
        "warnings": [*resolved.warnings, *verdict.warnings],
        "cannot_be_built_because": problems,
        "source": source,
        "build_vm": _build_vm(template, generation, str(source.get("architecture", Architecture.X64))),
        "limits": {
            "longest_run_minutes": template.build_timeout_seconds // 60,
            **({"held_minutes_when_it_fails": wishes.held_seconds // 60} if wishes.held_seconds else {}),
        },
        "begins": _begins(template, settings, net, wishes, scope=scope, template_id=template_id),
        "staging_resource_group": {
            "name": name,
            "tags": group_tags(
                template_name=resolved.name,
                resource_group=resource_group,
                managed_resource_tags=template.properties.managed_resource_tags,
            ),
            "resources": _resources(template, net),
        },
        "topology": net.topology if net else "unknown",
        "network": _sentences(net),
        "packer": _packer(template),
        "distribute": [target.model_dump(mode="json") for target in template.properties.distribute],
        **({"deployment_outputs": outputs_as_data(resolved.outputs)} if resolved.outputs else {}),
    }
    masked: dict[str, Any] = resolved.mask.value(plan)
    return masked


def _source(template: ImageTemplate, settings: Settings) -> tuple[dict[str, Any], int]:
    source = template.properties.source
    found: dict[str, Any] = source.model_dump(mode="json")
    if isinstance(source, PlatformImageSource):
        try:
            resolution = plan_platform_image(
                reference_of(source),
                cache_directory=settings.image_cache,
                user_catalogue=settings.catalogue,
                most_age_days=settings.platform_image_most_age_days,
            )
        except ImageNotFound as error:
            return {**found, "problem": f"{error.message}; {error.hint}"}, 1
        found["exact_version"] = resolution.cached.exact_version if resolution.cached else resolution.sentence
        found["generation"] = resolution.entry.generation
        found["architecture"] = resolution.entry.architecture
        return found, resolution.entry.generation
    return found, 1


def _build_vm(template: ImageTemplate, generation: int, architecture: str) -> dict[str, Any]:
    wanted = template.properties.vm_profile.vm_size
    size = build_vm_size(wanted, hyper_v_generation=generation, architecture=architecture)
    disk = template.properties.vm_profile.os_disk_size_gb
    memory = wanted_memory_mib(size, is_windows=template.os_type is OsType.WINDOWS)
    return {"vmSize": size.name, "cpus": size.cpu_count, "memory_mib": memory, "os_disk_gb": disk or "source"}


def _begins(
    template: ImageTemplate,
    settings: Settings,
    net: VirtualNetwork | None,
    wishes: Wishes,
    *,
    scope: str,
    template_id: str,
) -> list[str]:
    """What the build VM and the customizers could go on from on this machine, as sentences."""
    if wishes.resumed_run:
        return [f"the build goes on from the customized disk of run {wishes.resumed_run}: no customizer runs"]
    booted = why_booted(
        settings,
        template,
        os_type=template.os_type or OsType.LINUX,
        way_out=guest_way_out_of(settings),
        topology=net.topology if net else Topology.OWN,
    )
    vm = f"is booted: {booted}" if booted else "goes on from a saved VM of its source, or is booted where there is none"
    if reason := why_none(settings, template.tags, template_id=template_id) or booted:
        return [f"the build VM {vm}", f"the customizers begin at the first: {reason}"]
    if not wishes.uses_checkpoints:
        return [f"the build VM {vm}", f"the customizers begin at the first: {NO_CACHE}"]
    oldest = time.time() - wishes.most_checkpoint_age_seconds
    kept = [one for one in told_of(settings.saved_vms, scope) if one.made >= oldest]
    behind = [f"{one.position} ({one.step})" for one in kept if not one.is_whole]
    places = ", ".join(behind[:MOST_KEPT]) or "none"
    found = [
        f"the build VM {vm}",
        f"the customizers begin behind the last that is kept and unchanged; kept on this machine: {places}",
    ]
    if settings.share_checkpoints and (others := scopes_beside(settings.saved_vms, scope)):
        found.append(f"or behind what other templates of its resource group have kept here: {len(others)} of them have")
    if any(one.is_whole for one in kept):
        found.append("the disk of a whole build is kept on this machine: with nothing edited no step runs")
    return found


def _network(
    template: ImageTemplate,
    virtual_networks: Mapping[str, UserVirtualNetwork],
    addresses: Sequence[IPv4Interface],
    *,
    allowances: Sequence[Allowance],
    egress: EgressPolicy,
    settings: Settings,
) -> VirtualNetwork | None:
    """The network of the build; None when the template's subnets cannot be used, for which the plan says why."""
    is_windows = template.os_type is OsType.WINDOWS
    port = virtual_network.service_port(is_windows=is_windows)
    try:
        user_subnets = user_subnets_of(template.properties.vm_profile.vnet_config, virtual_networks, service_port=port)
    except InputError:
        return None
    return virtual_network.decide(
        addresses,
        is_windows=is_windows,
        allowances=allowances,
        user_subnets=user_subnets,
        egress_policy=egress,
        bounds=bounds_of(settings),
    )


def _sentences(net: VirtualNetwork | None) -> list[str]:
    if net is None:
        return ["the subnets that the template names cannot be used"]
    return [virtual_network.topology_text(net), *virtual_network.allowances_text(net)]


def _resources(template: ImageTemplate, net: VirtualNetwork | None) -> list[dict[str, str]]:
    properties = template.properties
    names = [] if properties.validation.source_validation_only else [customizing.VM_NAME]
    names += [validating.VM_NAME] if properties.validation.in_vm_validations else []
    resources = [
        {"type": STORAGE_ACCOUNT, "name": "<24 letters and digits>", "lives": "until it is deleted"},
        *({"type": kind, "name": name, "lives": "for the build"} for kind, name, _ in _network_resources(net)),
    ]
    for name in names:
        resources += [
            {"type": VIRTUAL_MACHINE, "name": name, "lives": "for its phase"},
            {"type": DISK, "name": f"{name}-os-disk", "lives": "for its phase"},
            {"type": NETWORK_INTERFACE, "name": f"{name}-nic", "lives": "for its phase"},
            {"type": CONTAINER_GROUP, "name": "vmimagebuilder-build-container-<guid>", "lives": "for its phase"},
        ]
    return resources


def _network_resources(net: VirtualNetwork | None) -> list[tuple[str, str, dict[str, Any]]]:
    return virtual_network.resources_of(net) if net else []


def _packer(template: ImageTemplate) -> dict[str, Any]:
    """Both Packer templates; the scripts' copies and the run's key do not exist yet."""
    if template.os_type is OsType.WINDOWS:
        return _packer_of_windows(template)
    copies = {item.path: Path(f"<copy of {item.uri}>") for item in template.scripts}
    timeout = template.build_timeout_seconds
    connection = Connection(
        container_group.RELAY_PORT, cloud_init_seed.USER, "", timeout, cloud_init_seed.SCRIPT_FOLDER
    )
    found: dict[str, Any] = {}
    try:
        customize = packer_steps(template.properties.customize, copies, where=CUSTOMIZE)
        validations = packer_steps(template.properties.validation.in_vm_validations, copies, where=VALIDATIONS)
    except InputError as error:
        return {"problem": error.message}
    if not template.properties.validation.source_validation_only:
        steps = (*customize, Deprovision())
        found["customize"] = shown(packer_input(steps, connection))
    if validations:
        found["validate"] = shown(packer_input(validations, connection))
    return found


def _packer_of_windows(template: ImageTemplate) -> dict[str, Any]:
    """The same for WinRM; the certificate and the password of the run do not exist yet either."""
    copies = {item.path: Copied(Path(f"<copy of {item.uri}>"), 0, "<its SHA-256>") for item in template.scripts}
    connection = WinRmConnection(
        container_group.RELAY_PORT, cloud_init_seed.USER, "", "", min(WINRM_SECONDS, template.build_timeout_seconds)
    )
    found: dict[str, Any] = {}
    try:
        customize = windows_steps(template.properties.customize, copies, where=CUSTOMIZE)
        validations = windows_steps(template.properties.validation.in_vm_validations, copies, where=VALIDATIONS)
        if not template.properties.validation.source_validation_only:
            found["customize"] = shown_windows(windows_input((*customize, WindowsDeprovision()), connection))
        if validations:
            found["validate"] = shown_windows(windows_input(validations, connection))
    except InputError as error:
        return {"problem": error.message}
    return found


def plan_text(plan: Mapping[str, Any]) -> str:
    """The plan for a person to read."""
    lines = [
        f"image template {plan['name']} (api-version {plan['api_version']})",
        json.dumps(plan["template"], indent=2),
    ]
    lines += [f"warning: {warning}" for warning in plan["warnings"]]
    lines += [f"cannot be built: {problem}" for problem in plan["cannot_be_built_because"]]
    lines += ["", "source", *_pairs(plan["source"]), "", "build VM", *_pairs({**plan["build_vm"], **plan["limits"]})]
    lines += ["", "begins", *(f"  {sentence}" for sentence in plan["begins"])]
    group = plan["staging_resource_group"]
    lines += ["", f"staging resource group {group['name']}", *_pairs(group["tags"])]
    lines += [f"  {item['type']} {item['name']} ({item['lives']})" for item in group["resources"]]
    lines += ["", "network", *(f"  {sentence}" for sentence in plan["network"])]
    for kind, packer_template in plan["packer"].items():
        lines += ["", f"Packer template ({kind})", json.dumps(packer_template, indent=2)]
    lines += ["", "distribute", *(f"  {json.dumps(target)}" for target in plan["distribute"])]
    if outputs := plan.get("deployment_outputs"):
        lines += ["", *outputs_lines(outputs)]
    return "\n".join(lines)


def _pairs(values: Mapping[str, Any]) -> list[str]:
    return [f"  {name}: {value}" for name, value in values.items() if value is not None]
