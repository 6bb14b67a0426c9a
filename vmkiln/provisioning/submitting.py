"""Submitting: an image template becomes ready to run.

Its staging resource group is made. The scripts and files it names are copied and checked. Its source image and the
image definitions it distributes to are looked for. A run needs nothing from outside but the source image.

*Leaves behind:* the staging resource group with its storage account. *Undone by:* `withdraw`.
*Safe to repeat:* yes: what is there already is used.
Source: docs/reference/behaviour.md#two-phases, #distributing, #staging-resource-group.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

from vmkiln.blobs.blob_endpoint import read_endpoint, server_of
from vmkiln.buildable.stored_source import stored_image
from vmkiln.errors import DownloadFailed, ImageNotFound, InputError
from vmkiln.fetching.http_fetch import Patience
from vmkiln.fetching.server_rule import NamedBy, PrivateServer, ServerRule
from vmkiln.fetching.way_out import WayOut, rule_of, way_out_of
from vmkiln.platform_images.image_reference import reference_of
from vmkiln.platform_images.platform_image import check_published, plan_platform_image
from vmkiln.run.run_context import Submission
from vmkiln.settings import Settings
from vmkiln.staging import staging_resource_group
from vmkiln.staging.local_files import NO_LOCAL_FILES
from vmkiln.staging.script_copy import Script, copy_scripts
from vmkiln.staging.staging_resource_group import StagingResourceGroup
from vmkiln.store.database import Store
from vmkiln.template.image_template import ImageTemplate
from vmkiln.template.source import ManagedImageSource, PlatformImageSource, SharedImageVersionSource
from vmkiln.waiting.off_loop import off_loop

log = logging.getLogger(__name__)


class Unfit(InputError):
    """A template that cannot be provisioned; `code` is its provisioningErrorCode."""

    def __init__(self, code: str, message: str, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.code = code


def open_group(settings: Settings, store: Store, *, name: str, tags: Mapping[str, str]) -> StagingResourceGroup:
    """The staging resource group of this name, made when it is missing."""
    if (row := store.staging.group(name)) is not None:
        account = staging_resource_group.storage_account_of(settings.staging, row)
        account.create()
        return StagingResourceGroup(name, row.tags, account, run_id="")
    return staging_resource_group.create(settings.staging, store, name=name, run_id="", tags=tags)


async def copied_scripts(settings: Settings, template: ImageTemplate, group: StagingResourceGroup) -> dict[str, str]:
    """Copy what the template names; gives the blob's name for each place in the template.

    Raises: `Unfit` naming every script that could not be had.
    """
    scripts = [Script(item.path, item.uri, item.sha256_checksum) for item in template.scripts]
    own = await off_loop(lambda: server_of(read_endpoint(settings.blob_endpoint)))
    try:
        copied = await copy_scripts(
            scripts,
            group.storage_account,
            local_files=NO_LOCAL_FILES,
            notice=lambda text: log.warning("%s", text),
            rule=_callers_servers(settings, own),
            way_out=_way_out(settings, own),
        )
    except DownloadFailed as error:
        is_validator = all(path.startswith("properties.validate") for path in error.paths)
        code = "NoValidatorScript" if is_validator else "NoCustomizerScript"
        raise Unfit(code, error.message, hint=error.hint) from error
    directory = group.storage_account.directory
    return {copy.script.path: str(copy.file.relative_to(directory)) for copy in copied}


def _callers_servers(settings: Settings, own: PrivateServer | None) -> ServerRule:
    """Servers on the Internet, those that the operator allows, and our own blob server with users' accounts."""
    rule = rule_of(settings, NamedBy.CALLER)
    return rule if own is None else replace(rule, private_servers=(*rule.private_servers, own))


def _way_out(settings: Settings, own: PrivateServer | None) -> WayOut:
    """The operator's; our own blob server is on this machine, and no proxy is told of it."""
    found = way_out_of(settings)
    if own is None or own.network is None:
        return found
    return replace(found, no_proxy=(*found.no_proxy, f"{own.network.network_address}:{own.port}"))


def submission(settings: Settings, store: Store, *, group_name: str, blobs: Mapping[str, str]) -> Submission:
    """What was made when the template was submitted. Raises: `InputError` when its staging resource group is gone."""
    group = store.staging.group(group_name)
    if group is None:
        raise InputError(
            f"the staging resource group {group_name} is gone", hint="delete the template and make it anew"
        )
    account = staging_resource_group.storage_account_of(settings.staging, group)
    copies = {path: account.directory / blob for path, blob in blobs.items()}
    missing = [path for path, file in copies.items() if not file.is_file()]
    if missing:
        raise InputError(f"the copies of {', '.join(missing)} are gone from {group_name}")
    return Submission(StagingResourceGroup(group_name, group.tags, account, run_id=""), copies)


def exact_version(settings: Settings, store: Store, template: ImageTemplate) -> str:
    """The exact version the source means now; '' when a platform image has to be had first.

    Raises: `Unfit` when there is no such source.
    """
    source = template.properties.source
    try:
        match source:
            case PlatformImageSource():
                found = plan_platform_image(
                    reference_of(source),
                    cache_directory=settings.image_cache,
                    user_catalogue=settings.catalogue,
                    most_age_days=settings.platform_image_most_age_days,
                )
                return found.cached.exact_version if found.cached else ""
            case ManagedImageSource():
                stored_image(store, source)
                return ""
            case SharedImageVersionSource():
                return stored_image(store, source).artifact_id
            case _:
                raise Unfit("BadSourceType", f"a source of type {source.type} cannot be built here")
    except (ImageNotFound, InputError) as error:
        if isinstance(error, Unfit):
            raise
        codes = {"PlatformImage": "BadPIRSource", "ManagedImage": "BadManagedImageSource"}
        code = codes.get(source.type, "BadSharedImageVersionSource")
        raise Unfit(code, error.message, hint=error.hint) from error


async def check_publisher(settings: Settings, template: ImageTemplate) -> None:
    """Ask a platform image's publisher for an exact version that is not in the cache.

    A publisher who does not answer is asked again by the run. Raises: `Unfit` when the publisher does not have it.
    """
    source = template.properties.source
    if not isinstance(source, PlatformImageSource):
        return
    try:
        await check_published(
            reference_of(source),
            cache_directory=settings.image_cache,
            user_catalogue=settings.catalogue,
            patience=Patience(attempts=2),
            way_out=way_out_of(settings),
        )
    except ImageNotFound as error:
        raise Unfit("BadPIRSource", error.message, hint=error.hint) from error
    except DownloadFailed as error:
        log.warning("the version %s could not be asked for: %s", source.version, error.message)


def withdraw(settings: Settings, store: Store, group_names: Sequence[str]) -> None:
    """Delete staging resource groups with their logs, scripts and VHDs; content when they are gone."""
    for row in store.staging.list_groups():
        if row.name in group_names:
            staging_resource_group.delete(settings.staging, store, row)
