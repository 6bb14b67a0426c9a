"""Triggers of an image template, and the list of operations that Microsoft.VirtualMachineImages knows.

Source: docs/reference/rest-api.md#operations; docs/reference/image-template.md#triggers;
docs/reference/behaviour.md#triggers.
"""

import functools
from collections.abc import Iterator

from vmkiln.api.identity.caller import Permission
from vmkiln.api.protocol import operations
from vmkiln.api.protocol.arm import template_error
from vmkiln.api.protocol.revision import check_etag, etag_of
from vmkiln.api.protocol.route import Answer, Body, Call, Route
from vmkiln.api.virtual_machine_images.image_templates import ONE, find
from vmkiln.api.virtual_machine_images.sent_template import check_name
from vmkiln.api.virtual_machine_images.template_body import trigger_body
from vmkiln.azure_names import TRIGGER, ProvisioningState, same_location
from vmkiln.errors import ArmError, Mistake, TemplateInvalid, VmkilnError
from vmkiln.provisioning.stored_template import template_of
from vmkiln.provisioning.watching import seen_now, status_of
from vmkiln.store.resource_table import Beside
from vmkiln.store.rows import ResourceRow
from vmkiln.template.api_version import API_VERSIONS
from vmkiln.template.distribute_target import SharedImageTarget
from vmkiln.template.image_template import ImageTemplate
from vmkiln.template.source import PlatformImageSource, SharedImageVersionSource

SINCE = "2022-07-01"
VERSIONS = tuple(version for version in API_VERSIONS if version >= SINCE)
MOST_IN_REGION = 100
ALL = f"{ONE}/triggers"
ONE_TRIGGER = f"{ALL}/{{triggerName}}"
KIND = "SourceImage"


def _trigger_id(call: Call, template: ResourceRow) -> str:
    return f"{template.id}/triggers/{call.names['triggerName']}"


def _find(call: Call, template: ResourceRow) -> ResourceRow:
    row = call.service.store.resources.get(_trigger_id(call, template))
    if row is None:
        message = f"The trigger '{call.names['triggerName']}' of '{template.name}' was not found."
        raise ArmError(404, "ResourceNotFound", message)
    return row


def list_triggers(call: Call) -> Answer:
    """GET the triggers of a template."""
    template = find(call)
    rows = call.service.store.resources.list(type=TRIGGER, parent=template.key)
    status = status_of(call.service.store, template)
    return Answer(200, {"value": [trigger_body(row, status) for row in rows]})


def get(call: Call) -> Answer:
    """GET one."""
    template = find(call)
    row = _find(call, template)
    return Answer(200, trigger_body(row, status_of(call.service.store, template)), {"ETag": etag_of(row)})


def put(call: Call) -> Answer:
    """PUT: a template can have one trigger of kind SourceImage."""
    check_name(call.names["triggerName"], "trigger name")
    template = find(call)
    kept = template_of(call.service.store, template)
    mistakes = list(_mistakes(call, template, kept))
    if mistakes:
        raise template_error(TemplateInvalid(mistakes), api_version=call.api_version, kind="Trigger")
    if template.properties.get("provisioningState") != ProvisioningState.SUCCEEDED:
        message = f"the image template '{template.name}' is not provisioned: triggers need provisioningState Succeeded"
        raise ArmError(409, "OperationNotAllowed", message)
    store = call.service.store
    trigger_id = _trigger_id(call, template)
    existing = store.resources.get(trigger_id)
    check_etag(call, existing)
    if existing is not None:
        return Answer(200, trigger_body(existing, status_of(store, template)), {"ETag": etag_of(existing)})
    _check_room(template, store.resources.list)
    try:
        seen = seen_now(call.service.settings, store, kept)
    except VmkilnError as error:
        if error.outside:
            raise  # a fault of the service, not of the source
        raise ArmError(400, "ValidationFailed", error.message, hint=error.hint) from None
    row = store.resources.insert_beside(
        ResourceRow(
            id=trigger_id,
            type=TRIGGER,
            name=call.names["triggerName"],
            subscription_id=template.subscription_id,
            resource_group=template.resource_group,
            location=template.location,
            properties={"kind": KIND, "provisioningState": ProvisioningState.SUCCEEDED},
            state={"seen": seen},
            created_by=call.caller.name,
            changed_by=call.caller.name,
        ),
        functools.partial(_check_room, template),
    )
    if row is None:  # the very same one was put meanwhile
        return get(call)
    operation = operations.begin(call, "trigger", resource_id=row.id, location=template.location, is_done=True)
    headers = {**operations.status_headers(call, operation), "ETag": etag_of(row)}
    return Answer(201, trigger_body(row, status_of(store, template)), headers)


def _check_room(template: ResourceRow, beside: Beside) -> None:
    """Refuse a second trigger of a template, and too many in a region. Raises: `ArmError` 409."""
    others = beside(type=TRIGGER, parent=template.key)
    if others:
        message = f"the image template '{template.name}' has the trigger '{others[0].name}' of kind {KIND} already"
        raise ArmError(409, "Conflict", message)
    in_region = beside(type=TRIGGER, subscription_id=template.subscription_id)
    if sum(row.location == template.location for row in in_region) >= MOST_IN_REGION:
        message = f"the subscription has {MOST_IN_REGION} triggers in {template.location} already"
        raise ArmError(409, "QuotaExceeded", message)


def _mistakes(call: Call, row: ResourceRow, template: ImageTemplate) -> Iterator[Mistake]:
    properties = call.body.get("properties")
    if not isinstance(properties, dict) or not isinstance(properties.get("kind"), str):
        yield Mistake.missing("properties.kind", f"allowed is {KIND}")
    elif properties["kind"].lower() != KIND.lower():
        yield Mistake("properties.kind", f"`{properties['kind'][:60]}` is not allowed here", f"allowed is {KIND}")
    location = call.body.get("location")
    if isinstance(location, str) and not same_location(location, row.location):
        yield Mistake("location", f"must be the image template's, {row.location}")
    source = template.properties.source
    definition = ""
    match source:
        case PlatformImageSource(version=version) if version.lower() == "latest":
            pass
        case SharedImageVersionSource(image_version_id=version_id) if version_id.lower().endswith("/versions/latest"):
            definition = version_id.lower().partition("/versions/")[0]
        case PlatformImageSource() | SharedImageVersionSource():
            yield Mistake("properties.kind", "needs a source with version `latest` in the image template")
        case _:
            yield Mistake("properties.kind", f"does not go with a source of type {source.type}")
    for index, target in enumerate(template.properties.distribute):
        if not isinstance(target, SharedImageTarget):
            continue
        where, _, version = target.gallery_image_id.lower().partition("/versions/")
        if version:
            yield Mistake("properties.kind", f"needs distribute[{index}].galleryImageId without an explicit version")
        if definition and where == definition:
            yield Mistake("properties.kind", f"needs another image definition in distribute[{index}] than the source's")


def delete(call: Call) -> Answer:
    """DELETE: done at once; 204 when there is none."""
    row = call.service.store.resources.get(call.resource_id)  # also one whose template is gone
    if row is None or row.type != TRIGGER:
        return Answer(204)
    check_etag(call, row)
    call.service.store.resources.delete(row.id)
    operation = operations.begin(call, "trigger", resource_id=row.id, location=row.location, is_done=True)
    return Answer(202, None, operations.result_headers(call, operation))


OPERATIONS = (
    ("register/action", "Virtual Machine Image Builder", "Register"),
    ("unregister/action", "Virtual Machine Image Builder", "Unregister"),
    ("imageTemplates/read", "Image Template", "Get image template"),
    ("imageTemplates/write", "Image Template", "Create or update image template"),
    ("imageTemplates/delete", "Image Template", "Delete image template"),
    ("imageTemplates/run/action", "Image Template", "Run image template"),
    ("imageTemplates/cancel/action", "Image Template", "Cancel image template run"),
    ("imageTemplates/runOutputs/read", "Run Output", "Get run output"),
    ("imageTemplates/triggers/read", "Trigger", "Get trigger"),
    ("imageTemplates/triggers/write", "Trigger", "Create or update trigger"),
    ("imageTemplates/triggers/delete", "Trigger", "Delete trigger"),
    ("operations/read", "Operation", "List operations"),
    ("locations/operations/read", "Operation", "Get operation status"),
)


def list_operations(call: Call) -> Answer:  # noqa: ARG001 (a handler)
    """GET the operations of the resource provider."""
    value = [
        {
            "name": f"Microsoft.VirtualMachineImages/{name}",
            "isDataAction": False,
            "display": {
                "provider": "Virtual Machine Image Builder",
                "resource": resource,
                "operation": title,
                "description": title,
            },
        }
        for name, resource, title in OPERATIONS
    ]
    return Answer(200, {"value": value})


ROUTES = (
    Route(
        "GET",
        "/providers/Microsoft.VirtualMachineImages/operations",
        "Operations_List",
        Permission.ANY,
        list_operations,
        api_versions=API_VERSIONS,
    ),
    Route("GET", ALL, "Triggers_ListByImageTemplate", Permission.READ, list_triggers, api_versions=VERSIONS),
    Route("GET", ONE_TRIGGER, "Triggers_Get", Permission.READ, get, api_versions=VERSIONS),
    Route("PUT", ONE_TRIGGER, "Triggers_CreateOrUpdate", Permission.WRITE, put, Body.JSON, VERSIONS),
    Route("DELETE", ONE_TRIGGER, "Triggers_Delete", Permission.DELETE, delete, api_versions=VERSIONS),
)
