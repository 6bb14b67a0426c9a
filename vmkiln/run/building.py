"""Building: the source becomes an exact image, the scripts are copied, the staging resource group exists.

*Leaves behind:* the staging resource group with its storage account. *Undone by:* `vmkiln staging delete`.
*Safe to repeat:* yes, in another group.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from vmkiln.azure_names import Architecture
from vmkiln.buildable.egress_choice import check_guest_proxy, decided_egress
from vmkiln.buildable.examination import check_buildable, no_iso, template_warnings
from vmkiln.buildable.known_source import KnownSource
from vmkiln.buildable.source_system import windows_warnings
from vmkiln.buildable.stored_source import stored_image
from vmkiln.buildable.targets import target_problems
from vmkiln.errors import ImageConflict, InputError
from vmkiln.fetching.guest_way_out import GuestWayOut, allowances, guest_way_out_of, proxy_server
from vmkiln.fetching.http_fetch import CONNECT_SECONDS
from vmkiln.fetching.looked_up import looked_up
from vmkiln.fetching.server_rule import NamedBy
from vmkiln.fetching.way_out import rule_of, way_out_of
from vmkiln.host.egress.egress_policy import EgressPolicy
from vmkiln.host.network import host_watch
from vmkiln.host.network.flow_bounds import bounds_of
from vmkiln.host.qemu import Accelerator
from vmkiln.images.data_disk import data_disks_of
from vmkiln.images.image_store import architecture_of, held
from vmkiln.platform_images.image_reference import reference_of
from vmkiln.platform_images.platform_image import obtain_platform_image
from vmkiln.run.finished import kept_disk
from vmkiln.run.finished.finished_work import FinishedWork
from vmkiln.run.guest.login_way import login_way_of
from vmkiln.run.run_context import BuildHost, ResolvedSource, RunRequest, Staged, Tell
from vmkiln.run.run_event import Notice
from vmkiln.run.vm_shape import decide_shape
from vmkiln.settings import Settings
from vmkiln.staging import staging_resource_group, virtual_network
from vmkiln.staging.script_copy import Script, copy_scripts, oddity
from vmkiln.staging.staging_resource_group import StagingResourceGroup
from vmkiln.staging.topology import user_subnets_of
from vmkiln.store.rows import ImageRow
from vmkiln.template.resource_id import parse_resource_id
from vmkiln.template.source import ManagedImageSource, OsType, PlatformImageSource, SharedImageVersionSource, Source
from vmkiln.waiting.off_loop import off_loop


async def stage(
    host: BuildHost, request: RunRequest, directory: Path, tell: Tell, work: FinishedWork | None = None
) -> Staged:
    """Make everything ready that both Packer phases need, or what is left to do behind an earlier attempt's work.

    Raises: `InputError` for what cannot be built, `ImageNotFound`/`ImageUnsafe` for the source, `ImageConflict` for
    image definitions of another kind, `DownloadFailed` for scripts.
    """
    template = request.template
    check_buildable(template, request.virtual_networks)
    egress = decided_egress(host.settings.egress, request.egress, template.tags)
    way_out, request = await with_way_out(host.settings, request, egress)
    for warning in template_warnings(template, host.settings):
        tell(Notice(warning, is_warning=True))
    await off_loop(_check_targets, host, request, None)  # taken since it was asked for
    group = await off_loop(_group, host, request)
    async with asyncio.TaskGroup() as tasks:
        resolving = tasks.create_task(
            resolve_source(host, template.properties.source, directory, progress=lambda text: tell(Notice(text)))
            if work is None
            else _taken_up(host.settings, work, directory)
        )
        copying = tasks.create_task(_copies(host.settings, request, group, tell))
        addresses = tasks.create_task(host_watch.host_addresses())
    source = resolving.result()
    await off_loop(_check_targets, host, request, source.as_known)
    await off_loop(
        host.store.runs.add_facts, request.run_id, storage_account=group.storage_account.name, **source.facts
    )
    is_windows = source.os_type == OsType.WINDOWS
    shape = decide_shape(
        template.properties.vm_profile,
        generation=source.generation,
        architecture=source.architecture,
        source_bytes=source.virtual_size_bytes,
        host_cpus=host.cpus,
        host_memory_mib=host.memory_mib,
        reserved_mib=host.settings.reserved_memory_mib,
        is_windows=is_windows,
    )
    emulated = host.accelerator_reason if host.accelerator is Accelerator.TCG else ""
    of_windows: tuple[str, ...] = ()
    if is_windows:
        way = await off_loop(login_way_of, host.store, source.digest, template.tags)
        of_windows = (way.notice, *windows_warnings(template.properties.vm_profile, emulated))
    for warning in (*shape.warnings, *of_windows):
        tell(Notice(warning, is_warning=True))
    return Staged(
        host=host,
        request=request,
        group=group,
        directory=directory,
        source=source,
        shape=shape if work is None else replace(shape, disk_bytes=work.disk_bytes),
        copies=copying.result(),
        network=virtual_network.decide(
            addresses.result(),
            is_windows=is_windows,
            allowances=request.allowances,
            egress_policy=egress,
            bounds=bounds_of(host.settings),
            user_subnets=user_subnets_of(
                template.properties.vm_profile.vnet_config,
                request.virtual_networks,
                service_port=virtual_network.service_port(is_windows=is_windows),
            ),
        ),
        tell=tell,
        way_out=way_out,
    )


async def with_way_out(settings: Settings, request: RunRequest, egress: EgressPolicy) -> tuple[GuestWayOut, RunRequest]:
    """The guests' way out, and the request with what it needs: leave to reach the proxy, and its password masked.

    Raises: `InputError`, `HostUnfit`.
    """
    way_out = await off_loop(guest_way_out_of, settings)
    if not way_out.proxy:
        return way_out, request
    check_guest_proxy(egress, way_out.proxy)
    host, port = proxy_server(way_out)
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            found = await asyncio.to_thread(looked_up, host, port)
    except (OSError, UnicodeError):  # TimeoutError among them
        found = None
    allowed = (*request.allowances, *allowances(way_out, found))
    return way_out, replace(request, allowances=allowed, mask=request.mask | way_out.mask)  # a step may print all


def _group(host: BuildHost, request: RunRequest) -> StagingResourceGroup:
    """The group that the submission made, else the user's own that the template names, else a new one.

    That of a submission is on record with the run since it began.
    """
    if request.submission is not None:
        return replace(request.submission.group, run_id=request.run_id)
    properties = request.template.properties
    tags = staging_resource_group.group_tags(
        template_name=request.template_name,
        resource_group=request.resource_group,
        managed_resource_tags=properties.managed_resource_tags,
    )
    if properties.staging_resource_group:
        name = parse_resource_id(properties.staging_resource_group).name
        return staging_resource_group.claim(
            host.settings.staging, host.store, name=name, run_id=request.run_id, tags=tags
        )
    name = staging_resource_group.group_name(request.resource_group, request.template_name, request.run_id)
    return staging_resource_group.claim(host.settings.staging, host.store, name=name, run_id=request.run_id, tags=tags)


async def _copies(
    settings: Settings, request: RunRequest, group: StagingResourceGroup, tell: Tell
) -> Mapping[str, Path]:
    """The scripts' copies, by the place in the template that names them."""
    if request.submission is not None:
        for path, file in request.submission.copies.items():
            if odd := await off_loop(oddity, path, file):
                tell(Notice(f"{path}: the script {odd}", is_warning=True))
        return request.submission.copies
    scripts = [Script(item.path, item.uri, item.sha256_checksum) for item in request.template.scripts]
    copied = await copy_scripts(
        scripts,
        group.storage_account,
        local_files=request.local_files,
        notice=lambda text: tell(Notice(text, is_warning=True)),
        rule=rule_of(settings, NamedBy.USER),  # a service copies them when a template is submitted
        way_out=way_out_of(settings),
    )
    return {copy.script.path: copy.file for copy in copied}


def _check_targets(host: BuildHost, request: RunRequest, source: KnownSource | None) -> None:
    """Refuse targets that could not be published to, before a VM starts. Raises: `ImageConflict`."""
    found = list(target_problems(host.store, request.template, source, run_id=request.run_id))
    if found:
        raise ImageConflict("; ".join(f"{item.path}: {item.message}" for item in found), hint=found[0].hint)


async def resolve_source(
    host: BuildHost, source: Source, directory: Path, *, progress: Callable[[str], None]
) -> ResolvedSource:
    """The exact image a source means now; one from the store is held in the run's folder.

    Raises: `ImageNotFound`, `ImageUnsafe`, `DownloadFailed`.
    """
    match source:
        case PlatformImageSource():
            image = await obtain_platform_image(
                reference_of(source),
                cache_directory=host.settings.image_cache,
                user_catalogue=host.settings.catalogue,
                progress=progress,
                most_age_days=host.settings.platform_image_most_age_days,
                way_out=way_out_of(host.settings),
            )
            return ResolvedSource(
                path=image.path,
                format=image.format,
                digest=image.digest,
                exact_version=image.exact_version,
                generation=image.generation,
                os_type=image.os_type,
                virtual_size_bytes=image.virtual_size_bytes,
                origin=image.origin,
                architecture=Architecture(image.architecture),
                language=image.language,
            )
        case ManagedImageSource() | SharedImageVersionSource():
            found = await off_loop(stored_image, host.store, source)
            version = found.source_version if isinstance(source, ManagedImageSource) else found.artifact_id
            return _from_store(await held(await host.local_copy(found), directory), version=version)
        case _:
            raise InputError(f"{no_iso().path}: {no_iso().message}", hint=no_iso().hint)


async def _taken_up(settings: Settings, work: FinishedWork, directory: Path) -> ResolvedSource:
    """The very source that an earlier attempt customized, whatever its reference means by now."""
    if work.image is None:  # else nothing is read of it any more, and it may have been another host's
        await off_loop(kept_disk.lay_out, settings, work, directory)
    return replace(work.source, path=work.source_in(directory))


def _from_store(image: ImageRow, *, version: str) -> ResolvedSource:
    return ResolvedSource(
        path=image.path,
        format=image.format,
        digest=image.digest,
        exact_version=version,
        generation=image.generation,
        os_type=image.os_type,
        virtual_size_bytes=image.virtual_size_bytes,
        origin=image.artifact_id,
        architecture=architecture_of(image),
        data_disks=data_disks_of(image),
    )
