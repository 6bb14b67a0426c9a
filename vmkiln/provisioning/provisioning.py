"""Provisioning and deleting image templates that the service keeps, with their staging resource groups.

*Leaves behind:* of provisioning, the staging resource group. *Undone by:* `delete`.
*Safe to repeat:* yes; both find what an earlier try left and go on from there.
Source: docs/reference/behaviour.md#two-phases, #updates, #staging-resource-group.
"""

import logging
import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from vmkiln.azure_names import RESOURCE_GROUP, TRIGGER, ProvisioningState, group_id, same_location
from vmkiln.errors import VmkilnError
from vmkiln.images import gallery
from vmkiln.process_log import hiding
from vmkiln.provisioning import submitting
from vmkiln.provisioning.stored_template import kept_of, staging_tags, template_of
from vmkiln.provisioning.submitting import Unfit
from vmkiln.run.held import lease
from vmkiln.secrecy.secret_mask import SecretMask
from vmkiln.settings import Settings
from vmkiln.sharing.shared_storage import SharedStorage
from vmkiln.staging.staging_resource_group import StagingResourceGroup, group_name
from vmkiln.store.database import Store
from vmkiln.store.rows import ResourceRow
from vmkiln.template.distribute_target import ManagedImageTarget, SharedImageTarget
from vmkiln.template.image_template import ImageTemplate
from vmkiln.template.resource_id import parse_resource_id
from vmkiln.waiting.off_loop import off_loop, until_cancelled
from vmkiln.warm import checkpoint

log = logging.getLogger(__name__)
OUR_TAGS = ("createdBy", "usedBy", "imageTemplateName", "imageTemplateResourceGroupName")


async def provision(
    settings: Settings, store: Store, template_id: str, *, shared: SharedStorage | None = None
) -> dict[str, Any]:
    """Make a recorded template ready to run, on every host of a fleet when its `shared` storage is given.

    Gives the error when that fails, and an empty one otherwise.
    """
    row = await off_loop(store.resources.get, template_id)
    if row is None:
        return {"code": "ResourceNotFound", "message": "the image template was deleted"}
    secrets = await off_loop(_kept_secrets, store, row)
    with hiding(secrets):
        return await _provision(settings, store, row, template_id, SecretMask(secrets), shared=shared)


def _kept_secrets(store: Store, row: ResourceRow) -> frozenset[str]:
    try:
        return kept_of(store, row).secrets
    except VmkilnError:
        return frozenset()  # which is told when the template is read


async def _provision(
    settings: Settings,
    store: Store,
    row: ResourceRow,
    template_id: str,
    mask: SecretMask,
    *,
    shared: SharedStorage | None,
) -> dict[str, Any]:
    try:
        template = await off_loop(template_of, store, row)
        staging, group = await off_loop(_open_group, settings, store, row, template)
        await off_loop(check_targets, store, template)
        version = await off_loop(submitting.exact_version, settings, store, template)
        await submitting.check_publisher(settings, template)
        copies = await submitting.copied_scripts(settings, template, group)
        if shared is not None:
            await until_cancelled(shared.push_submission, group.name)
    except VmkilnError as error:
        code = error.code if isinstance(error, Unfit) else "Other"
        text = f"{error.message} ({error.hint})" if error.hint else error.message
        if error.outside:
            log.error("provisioning %s failed: %s", template_id, error)
            text = f"{error.outside}; the service's log has more."
        return await off_loop(_failed, store, template_id, code, mask(text))
    except Exception:
        log.exception("provisioning %s failed", template_id)
        text = "An internal error occurred; the service's log has more."
        return await off_loop(_failed, store, template_id, "ServerError", text)
    properties: dict[str, Any] = {
        "provisioningState": ProvisioningState.SUCCEEDED,
        "exactStagingResourceGroup": staging["staging_group_id"],
    }
    await off_loop(_finish, store, template_id, properties, {"copies": copies}, exact_version=version)
    return {}


def _failed(store: Store, template_id: str, code: str, message: str) -> dict[str, Any]:
    """Record why a template cannot be run."""
    told = {"provisioningErrorCode": code, "message": message}
    _finish(store, template_id, {"provisioningState": ProvisioningState.FAILED, "provisioningError": told}, {})
    return {"code": code, "message": message}


def _finish(
    store: Store, template_id: str, properties: Mapping[str, Any], state: Mapping[str, Any], *, exact_version: str = ""
) -> None:
    def finished(row: ResourceRow) -> ResourceRow:
        source = dict(row.properties["source"])
        if exact_version:
            source["exactVersion"] = exact_version
        merged = {**row.properties, "source": source, **properties}
        return replace(row, properties=merged, state={**row.state, **state})

    store.resources.change(template_id, finished)


def _open_group(
    settings: Settings, store: Store, row: ResourceRow, template: ImageTemplate
) -> tuple[dict[str, Any], StagingResourceGroup]:
    """A template's staging resource group, and what the template remembers of it. Raises: as `_claim_group`."""
    staging = _claim_group(store, row, template)
    store.resources.change(row.id, lambda old: replace(old, state={**old.state, **staging}))
    group = submitting.open_group(settings, store, name=staging["staging_group"], tags=staging["staging_tags"])
    return staging, group


def _claim_group(store: Store, row: ResourceRow, template: ImageTemplate) -> dict[str, Any]:
    """The staging resource group of a template: the user's, or one of the service's; recorded as a resource group.

    Raises: `Unfit` when the user's may not be used.
    """
    if "staging_group" in row.state:
        return {name: row.state[name] for name in ("staging_group", "staging_group_id", "staging_tags", "is_own_group")}
    # the same one when this is repeated after a crash, another one for the next template of that name
    guid = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{row.key} {row.created}"))
    name = group_name(row.resource_group, row.name, guid)
    wanted = template.properties.staging_resource_group
    managed = template.properties.managed_resource_tags
    where = wanted or group_id(row.subscription_id, name)
    existing = store.resources.get(where)
    is_own = existing is None or existing.properties.get("managedBy") == row.id
    tags = staging_tags(row, is_own=is_own, managed=managed)
    found: dict[str, Any] = {
        "staging_group": name,
        "staging_group_id": existing.id if existing else where,
        "staging_tags": tags,
        "is_own_group": is_own,
    }
    if existing is None:
        group = parse_resource_id(where)
        store.resources.put(
            ResourceRow(
                id=where,
                type=RESOURCE_GROUP,
                name=group.name,
                subscription_id=group.subscription_id,
                resource_group=group.name,
                location=row.location,
                tags=tags,
                properties={"provisioningState": ProvisioningState.SUCCEEDED, "managedBy": row.id},
                state={"staging_group": name},
                created_by=row.created_by,
                changed_by=row.created_by,
            )
        )
        return found
    if is_own:
        return found
    _check_brought_group(store, existing, row)
    store.resources.change(
        existing.id,
        lambda old: replace(old, tags={**old.tags, **tags}, state={**old.state, "staging_group": name}),
    )
    return found


def _check_brought_group(store: Store, group: ResourceRow, row: ResourceRow) -> None:
    """Refuse a group that is another template's, not empty or elsewhere. Raises: `Unfit`."""
    problems = []
    if not same_location(group.location, row.location):
        problems.append(f"it is in {group.location}, and the template in {row.location}")
    taken = [tag for tag in OUR_TAGS if tag in group.tags]
    if group.state.get("staging_group") or taken:
        problems.append("it is the staging resource group of another image template")
    inside = store.resources.list(subscription_id=group.subscription_id, resource_group=group.name, limit=2)
    if any(item.key != group.key for item in inside):
        problems.append("it is not empty")
    if problems:
        text = "; ".join(problems)
        raise Unfit("BadStagingResourceGroup", f"the staging resource group {group.name} cannot be used: {text}")


def check_targets(store: Store, template: ImageTemplate) -> None:
    """What a template distributes to is there (section 3.6). Raises: `Unfit`."""
    problems = []
    code = "BadDistributeType"
    for index, target in enumerate(template.properties.distribute):
        where = f"properties.distribute[{index}]"
        if isinstance(target, SharedImageTarget):
            definition, _ = gallery.split_id(target.gallery_image_id)
            if store.resources.get(definition) is None and store.images.definition(definition) is None:
                code = "BadSharedImageDistribute"
                problems.append(f"{where}.galleryImageId: there is no image definition {definition}")
        elif isinstance(target, ManagedImageTarget):
            image = parse_resource_id(target.image_id)
            if store.resources.get(group_id(image.subscription_id, image.resource_group)) is None:
                problems.append(f"{where}.imageId: there is no resource group {image.resource_group}")
    if problems:
        raise Unfit(code, "; ".join(problems))


def delete(settings: Settings, store: Store, template_id: str, *, shared: SharedStorage | None = None) -> None:
    """Delete a template with its triggers and all that its staging resource group holds; content when it is gone."""
    row = store.resources.get(template_id)
    if row is None:
        return
    if name := row.state.get("staging_group"):
        submitting.withdraw(settings, store, [name])
        if shared is not None:
            shared.delete_group(name)
        if row.state["is_own_group"]:
            store.resources.delete(row.state["staging_group_id"])
        else:
            store.resources.change(row.state["staging_group_id"], _given_back)
    for trigger in store.resources.list(parent=row.key, type=TRIGGER):
        store.resources.delete(trigger.id)
    lease.forget_of(settings, store, row.id)
    store.runs.forget_template(row.key)
    checkpoint.forget(settings.saved_vms, checkpoint.scope_of(template_id=row.id, resource_group="", name=""))
    store.resources.delete(row.id)


def _given_back(group: ResourceRow) -> ResourceRow:
    tags = {name: value for name, value in group.tags.items() if name not in OUR_TAGS}
    state = {name: value for name, value in group.state.items() if name != "staging_group"}
    return replace(group, tags=tags, state=state)
