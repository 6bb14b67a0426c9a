"""An image template that the service keeps: from its row to what a run needs, and what it is called in the store.

Pure, but for `request_of`, which looks at the copies in the staging storage account.
"""

from collections.abc import Mapping
from typing import Any

from vmkiln.provisioning.submitting import submission
from vmkiln.provisioning.user_networks import virtual_networks_for
from vmkiln.rights import run_rights
from vmkiln.run.run_context import RunRequest
from vmkiln.settings import Settings
from vmkiln.staging.local_files import NO_LOCAL_FILES
from vmkiln.store.database import Store
from vmkiln.store.rows import ResourceRow
from vmkiln.template.checked_template import check_image_template
from vmkiln.template.image_template import ImageTemplate


def body_of(row: ResourceRow) -> dict[str, Any]:
    """The template as it was given: location, tags, identity, properties."""
    body: dict[str, Any] = {"location": row.location, "tags": dict(row.tags), "properties": dict(row.properties)}
    if row.identity is not None:
        assigned = row.identity.get("userAssignedIdentities") or {}
        body["identity"] = {**row.identity, "userAssignedIdentities": {key: {} for key in assigned}}
    return body


def template_of(row: ResourceRow) -> ImageTemplate:
    """The checked template. Raises: `TemplateInvalid` when it was recorded by a vmkiln that knew other rules."""
    return check_image_template(body_of(row), api_version=row.state["api_version"])


def check_rights(store: Store, row: ResourceRow) -> None:
    """Whoever's rights a run of this template has may use at this moment all that it names. Raises: `RightsLost`."""
    run_rights.check(store, row, template_of(row))


def given_properties(template: ImageTemplate) -> dict[str, Any]:
    """The properties that were given, in their canonical spelling."""
    given: dict[str, Any] = template.properties.model_dump(
        mode="json", by_alias=True, exclude_unset=True, exclude_none=True
    )
    return given


def request_of(settings: Settings, store: Store, row: ResourceRow, *, run_id: str) -> RunRequest:
    """What a run of this template is asked to do. Raises: `InputError` when what its submission made is gone."""
    template = template_of(row)
    return RunRequest(
        run_id=run_id,
        template_name=row.name,
        resource_group=row.resource_group,
        template=template,
        resolved=body_of(row),
        local_files=NO_LOCAL_FILES,
        template_id=row.key,
        submission=submission(
            settings, store, group_name=row.state["staging_group"], blobs=row.state.get("copies") or {}
        ),
        virtual_networks=virtual_networks_for(store, template),
    )


def staging_tags(row: ResourceRow, *, is_own: bool, managed: Mapping[str, str]) -> dict[str, str]:
    """The tags of a template's staging resource group (docs/reference/behaviour.md#staging-resource-group)."""
    maker = {"createdBy": "AzureVMImageBuilder"} if is_own else {"usedBy": "AzureVMImageBuilder"}
    return {
        **managed,
        **maker,
        "imageTemplateName": row.name,
        "imageTemplateResourceGroupName": row.resource_group,
    }
