"""An image template that the service keeps: from its row to what a run needs, and what it is called in the store.

Pure, but for `request_of`, which looks at the copies in the staging storage account.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from vmkiln.provisioning.kept_texts import kept_apart, put_back
from vmkiln.provisioning.submitting import submission
from vmkiln.provisioning.user_networks import virtual_networks_for
from vmkiln.rights import run_rights
from vmkiln.run.run_context import RunRequest
from vmkiln.secrecy.secret_mask import SecretMask
from vmkiln.settings import Settings
from vmkiln.staging.local_files import NO_LOCAL_FILES
from vmkiln.store.database import Store
from vmkiln.store.rows import ResourceRow
from vmkiln.template.checked_template import check_image_template
from vmkiln.template.image_template import ImageTemplate

SEALED = "sealed"  # in the state of a row
PLACE = "properties"


@dataclass(frozen=True)
class Kept:
    """What is sealed of a template: whole texts by their paths, and the secrets themselves, for masking."""

    texts: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets: frozenset[str] = field(default=frozenset(), repr=False)

    @property
    def mask(self) -> SecretMask:
        """Takes the template's secrets out of whatever is shown, logged or kept."""
        return SecretMask(self.secrets)


def kept_of(store: Store, row: ResourceRow) -> Kept:
    """What is sealed of a template. Raises: `KeyUnavailable` when it cannot be opened."""
    if not row.state.get(SEALED):
        return Kept()
    found = store.seal.opened(row.state[SEALED], place=row.key)
    return Kept(found["texts"], frozenset(found["secrets"]))


def sealed_apart(
    store: Store, template_id: str, properties: Mapping[str, Any], secrets: Collection[str]
) -> tuple[dict[str, Any], str]:
    """The properties as they may be shown, and what is sealed of them ('' for nothing).

    Secrets are those that are given and keys of known shapes. Tags are for everybody, so what is secret in them is
    gone for good. Raises: `KeyUnavailable`, `StorageFailed` when it cannot be sealed.
    """
    mask = SecretMask.of(secrets)
    shown, texts = kept_apart(_with_plain_tags(properties, mask), mask, PLACE)
    if not texts:
        return dict(shown), ""
    shaped = {text[start:end] for text in texts.values() for start, end in SecretMask().spans(text)}
    content = {"texts": texts, "secrets": sorted({*secrets, *shaped})}
    return dict(shown), store.seal.sealed(content, place=template_id.lower())


def _with_plain_tags(properties: Mapping[str, Any], mask: SecretMask) -> dict[str, Any]:
    found = dict(properties)
    if found.get("managedResourceTags"):
        found["managedResourceTags"] = mask.value(found["managedResourceTags"])
    if found.get("distribute"):
        found["distribute"] = [
            {**target, "artifactTags": mask.value(target["artifactTags"])} if target.get("artifactTags") else target
            for target in found["distribute"]
        ]
    return found


def shown_body(row: ResourceRow) -> dict[str, Any]:
    """The template as it was given, but for its secrets: location, tags, identity, properties."""
    body: dict[str, Any] = {"location": row.location, "tags": dict(row.tags), "properties": dict(row.properties)}
    if row.identity is not None:
        assigned = row.identity.get("userAssignedIdentities") or {}
        body["identity"] = {**row.identity, "userAssignedIdentities": {key: {} for key in assigned}}
    return body


def body_of(store: Store, row: ResourceRow) -> dict[str, Any]:
    """The template as it was given, with its secrets. Raises: `KeyUnavailable` when they cannot be opened."""
    body = shown_body(row)
    return {**body, "properties": put_back(body["properties"], kept_of(store, row).texts, PLACE)}


def template_of(store: Store, row: ResourceRow) -> ImageTemplate:
    """The checked template, with its secrets.

    Raises: `TemplateInvalid` when it was recorded by a vmkiln that knew other rules; as `body_of`.
    """
    return check_image_template(body_of(store, row), api_version=row.state["api_version"], is_kept=True)


def check_rights(store: Store, row: ResourceRow) -> None:
    """Whoever's rights a run of this template has may use at this moment all that it names. Raises: `RightsLost`."""
    run_rights.check(store, row, template_of(store, row))


def given_properties(template: ImageTemplate) -> dict[str, Any]:
    """The properties that were given, in their canonical spelling."""
    given: dict[str, Any] = template.properties.model_dump(
        mode="json", by_alias=True, exclude_unset=True, exclude_none=True
    )
    return given


def request_of(settings: Settings, store: Store, row: ResourceRow, *, run_id: str) -> RunRequest:
    """What a run of this template is asked to do. Raises: `InputError` when what its submission made is gone."""
    template = template_of(store, row)
    return RunRequest(
        run_id=run_id,
        template_name=row.name,
        resource_group=row.resource_group,
        template=template,
        resolved=shown_body(row),
        mask=kept_of(store, row).mask,
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
