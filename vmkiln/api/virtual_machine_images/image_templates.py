"""Microsoft.VirtualMachineImages/imageTemplates: create, read, update, delete, list.

Source: docs/reference/rest-api.md#operations; docs/reference/behaviour.md#updates, #two-phases, #interlocks.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from vmkiln.api.identity.caller import Permission
from vmkiln.api.protocol import operations
from vmkiln.api.protocol.arm import template_error
from vmkiln.api.protocol.groups import group_of
from vmkiln.api.protocol.listing import PAGE, page, readable
from vmkiln.api.protocol.revision import check_etag, etag_of
from vmkiln.api.protocol.route import Answer, Body, Call, Route
from vmkiln.api.virtual_machine_images.ownership import owned_by_caller, taken_over
from vmkiln.api.virtual_machine_images.references import check_references
from vmkiln.api.virtual_machine_images.sent_template import (
    check_locations,
    check_name,
    sent_back_body,
    sent_template,
)
from vmkiln.api.virtual_machine_images.template_body import derived_principal, template_body
from vmkiln.azure_names import IMAGE_TEMPLATE, ProvisioningState, same_location
from vmkiln.errors import ArmError, TemplateInvalid
from vmkiln.fleet.image_builder import DELETE, PROVISION
from vmkiln.provisioning.stored_template import (
    SEALED,
    body_of,
    given_properties,
    kept_of,
    sealed_apart,
    template_of,
)
from vmkiln.run_state import RunState
from vmkiln.secrecy.secret_mask import SecretMask
from vmkiln.store.rows import OperationRow, ResourceRow, RunRow
from vmkiln.template.api_version import API_VERSIONS
from vmkiln.template.checked_template import check_image_template
from vmkiln.template.image_template import ImageTemplate
from vmkiln.template.template_change import changed_body

PROVIDER = "providers/Microsoft.VirtualMachineImages/imageTemplates"
IN_GROUP = f"/subscriptions/{{subscriptionId}}/resourceGroups/{{resourceGroupName}}/{PROVIDER}"
ONE = f"{IN_GROUP}/{{imageTemplateName}}"
UPDATE = "update"  # the kind of an operation
STATE_WORDS: Mapping[str, str] = {
    ProvisioningState.SUCCEEDED: "provisioned"
}  # Azure's own words for provisioning states in its errors


def find(call: Call) -> ResourceRow:
    """The template of a call's path. Raises: `ArmError` 404."""
    template_id = call.resource_id[: _end_of_name(call)]
    row = call.service.store.resources.get(template_id)
    if row is None or row.type.lower() != IMAGE_TEMPLATE.lower():
        name, group = call.names["imageTemplateName"], call.names["resourceGroupName"]
        message = f"The Resource '{IMAGE_TEMPLATE}/{name}' under resource group '{group}' was not found."
        raise ArmError(404, "ResourceNotFound", message)
    return row


def _end_of_name(call: Call) -> int:
    """Where the template's own id ends in a path that may go on below it."""
    return len("/".join(call.resource_id.split("/")[:9]))


def last_run_of(call: Call, row: ResourceRow) -> RunRow | None:
    """The newest run of a template."""
    return call.service.store.runs.last([row.key]).get(row.key)


def shown(call: Call, row: ResourceRow) -> dict[str, Any]:
    """The template as it is answered."""
    return template_body(row, last_run_of(call, row), principal=lambda key: principal_of(call, key))


def principal_of(call: Call, identity_id: str) -> tuple[str, str]:
    """principalId and clientId of an identity: those kept here, else stable ones of its own."""
    kept = call.service.store.resources.get(identity_id)
    if kept is None or "principalId" not in kept.properties:
        return derived_principal(identity_id)
    return str(kept.properties["principalId"]), str(kept.properties["clientId"])


def not_allowed(row: ResourceRow, run: RunRow | None, action: str) -> ArmError:
    """The error of what a template's state forbids."""
    state = str(row.properties.get("provisioningState"))
    run_state = "running" if run and run.state == RunState.QUEUED else run.state.lower() if run else ""
    message = (
        f"Operation {IMAGE_TEMPLATE}/{action} is not allowed in provisioning state: "
        f"{STATE_WORDS.get(state, state.lower())} or run state: {run_state}."
    )
    return ArmError(409, "OperationNotAllowed", message)


def get(call: Call) -> Answer:
    """GET one."""
    row = find(call)
    return Answer(200, shown(call, row), {"ETag": etag_of(row)})


def _list(call: Call, rows: Sequence[ResourceRow]) -> Answer:
    def bodies(chosen: Sequence[ResourceRow]) -> list[dict[str, Any]]:
        last = call.service.store.runs.last([row.key for row in chosen])
        return [template_body(row, last.get(row.key), principal=lambda key: principal_of(call, key)) for row in chosen]

    return page(call, rows, bodies)


def list_in_subscription(call: Call) -> Answer:
    """GET all of a subscription, as far as the caller may read them."""
    table, subscription_id = call.service.store.resources, call.names["subscriptionId"]

    def fetch(after: str, scopes: Collection[str] | None) -> list[ResourceRow]:
        return table.list(
            type=IMAGE_TEMPLATE, subscription_id=subscription_id, after=after, limit=PAGE + 1, scopes=scopes
        )

    return _list(call, readable(call, fetch))


def list_in_group(call: Call) -> Answer:
    """GET all of a resource group."""
    group_of(call)
    rows = call.service.store.resources.list(
        type=IMAGE_TEMPLATE,
        subscription_id=call.names["subscriptionId"],
        resource_group=call.names["resourceGroupName"],
        after=call.query.get("$skiptoken", ""),
        limit=PAGE + 1,
    )
    return _list(call, rows)


def put(call: Call) -> Answer:
    """PUT: a new template; of an existing one only tags and identity may differ, all else is a conflict."""
    check_name(call.names["imageTemplateName"], "image template name")
    group = group_of(call)
    existing = call.service.store.resources.get(call.resource_id)
    template = sent_template(call, existing)
    check_etag(call, existing)
    if existing is not None:
        return _put_again(call, existing, template)
    check_locations(call, template)
    template_id = f"{group.id}/{PROVIDER}/{call.names['imageTemplateName']}"
    properties, sealed = sealed_apart(call.service.store, template_id, given_properties(template), call.secrets)
    row = ResourceRow(
        id=template_id,
        type=IMAGE_TEMPLATE,
        name=call.names["imageTemplateName"],
        subscription_id=call.names["subscriptionId"],
        resource_group=group.name,
        location=template.location,
        tags=SecretMask.of(call.secrets).value(template.tags),
        identity=_identity(template),
        properties={**properties, "provisioningState": ProvisioningState.CREATING},
        state={"api_version": call.api_version, SEALED: sealed, **owned_by_caller(call)},
        created_by=call.caller.name,
        changed_by=call.caller.name,
    )
    made = call.service.store.resources.insert(row)
    if made is None:  # another request was faster
        raise _conflict()
    operation = operations.begin(call, PROVISION, resource_id=made.id, location=made.location)
    call.service.builder.wake()
    headers = {**operations.status_headers(call, operation), "ETag": etag_of(made)}
    return Answer(201, template_body(made, None, principal=lambda key: principal_of(call, key)), headers)


def _identity(template: ImageTemplate) -> dict[str, Any] | None:
    if template.identity is None:
        return None
    given: dict[str, Any] = template.identity.model_dump(mode="json", by_alias=True, exclude_none=True)
    return given


def _conflict() -> ArmError:
    return ArmError(409, "Conflict", "Update/Upgrade of image templates is currently not supported")


def _put_again(call: Call, existing: ResourceRow, template: ImageTemplate) -> Answer:
    """The same template once more changes tags and identity; another one is a conflict."""
    try:
        kept = template_of(call.service.store, existing)
    except TemplateInvalid:  # of rules that it was not taken by: no mistake of what was sent
        raise _conflict() from None
    is_same = given_properties(template) == given_properties(kept) and same_location(
        template.location, existing.location
    )
    if not is_same or existing.properties.get("provisioningState") in {
        ProvisioningState.FAILED,
        ProvisioningState.DELETING,
    }:
        raise _conflict()
    tags = SecretMask.of(call.secrets).value(template.tags)
    row = call.service.store.resources.change(
        existing.id,
        lambda old: replace(
            old,
            tags=tags,
            identity=_identity(template),
            state={**old.state, **owned_by_caller(call)},
            changed_by=call.caller.name,
        ),
        is_asked=True,
    )
    if row is None:
        raise _conflict()
    pending = call.service.store.operations.open_ones(row.id)
    headers = operations.status_headers(call, pending[-1]) if pending else _at_once(call, row)
    return Answer(200, shown(call, row), {**headers, "ETag": etag_of(row)}, taken_over(call, existing))


def _at_once(call: Call, row: ResourceRow) -> Mapping[str, str]:
    """The headers of an operation that is done already.

    Without one, the first SDKs take the answer itself for the resource and read it twice, which loses the types of
    source, customizers and targets; with one they fetch it afresh.
    """
    operation = operations.begin(call, UPDATE, resource_id=row.id, location=row.location, is_done=True)
    return operations.status_headers(call, operation)


def _version(row: ResourceRow) -> str:
    return str(row.state["api_version"])


def patch(call: Call) -> Answer:
    """PATCH: tags, identity, distribute targets, the build VM's profile; nothing else. Accepted, as Azure does.

    Whoever does it owns the template from then on, and may use all that it names.
    """
    row = find(call)
    check_etag(call, row)
    run = last_run_of(call, row)
    try:
        kept = kept_of(call.service.store, row)
        change = sent_back_body(call, row, kept)
        body = changed_body(body_of(call.service.store, row), change, api_version=call.api_version)
    except TemplateInvalid as error:
        raise template_error(error, api_version=call.api_version, kind="ImageTemplateUpdateParameters") from None
    if row.properties.get("provisioningState") != ProvisioningState.SUCCEEDED and set(call.body) - {"tags"}:
        raise not_allowed(row, run, "write")
    if call.body.get("properties") and run is not None and run.ended is None:
        raise not_allowed(row, run, "write")
    try:
        template = check_image_template(body, api_version=max(_version(row), call.api_version), is_kept=True)
    except TemplateInvalid as error:
        raise template_error(error, api_version=call.api_version) from None
    check_references(call, template, has_new_identities=bool(set(call.body) & {"identity", "properties"}))
    secrets = kept.secrets | call.secrets
    shown_now, sealed = sealed_apart(call.service.store, row.id, given_properties(template), secrets)
    read_only = {name: row.properties[name] for name in _READ_ONLY if name in row.properties}

    def changed(old: ResourceRow) -> ResourceRow:
        source = old.properties["source"]
        properties = {**shown_now, **read_only, "source": source}
        state = {**old.state, "api_version": max(_version(old), call.api_version), SEALED: sealed}
        state |= owned_by_caller(call)
        return replace(
            old,
            tags=SecretMask.of(secrets).value(template.tags),
            identity=_identity(template),
            properties=properties,
            state=state,
            changed_by=call.caller.name,
        )

    before = row
    row = call.service.store.resources.change(row.id, changed, is_asked=True) or row
    return Answer(202, None, {**_at_once(call, row), "ETag": etag_of(row)}, taken_over(call, before))


_READ_ONLY = ("provisioningState", "provisioningError", "exactStagingResourceGroup")


def delete(call: Call) -> Answer:
    """DELETE: refused while a run goes on; 204 when there is nothing to delete."""
    try:
        row = find(call)
    except ArmError:
        check_etag(call, None)
        return Answer(204)
    check_etag(call, row)
    pending = [item for item in call.service.store.operations.open_ones(row.id) if item.kind == DELETE]
    if pending:
        return Answer(202, None, operations.result_headers(call, pending[0]))
    run = last_run_of(call, row)
    if row.properties.get("provisioningState") == ProvisioningState.CREATING:
        message = "Operation 'DELETE' is not allowed in provisioningState: 'creating'"
        raise ArmError(409, "OperationNotAllowed", message)
    if run is not None and run.ended is None:
        raise not_allowed(row, run, "delete")
    operation = begin_deletion(call, row)
    return Answer(202, None, operations.result_headers(call, operation))


def begin_deletion(call: Call, row: ResourceRow) -> OperationRow:
    """Mark a template as going, and have the service delete it."""
    call.service.store.resources.change(
        row.id, lambda old: replace(old, properties={**old.properties, "provisioningState": ProvisioningState.DELETING})
    )
    operation = operations.begin(call, DELETE, resource_id=row.id, location=row.location)
    call.service.builder.wake()
    return operation


ROUTES = (
    Route(
        "GET",
        f"/subscriptions/{{subscriptionId}}/{PROVIDER}",
        "VirtualMachineImageTemplates_List",
        Permission.ANY,  # what of it the caller sees, the handler decides
        list_in_subscription,
        api_versions=API_VERSIONS,
    ),
    Route(
        "GET",
        IN_GROUP,
        "VirtualMachineImageTemplates_ListByResourceGroup",
        Permission.READ,
        list_in_group,
        api_versions=API_VERSIONS,
    ),
    Route("GET", ONE, "VirtualMachineImageTemplates_Get", Permission.READ, get, api_versions=API_VERSIONS),
    Route("PUT", ONE, "VirtualMachineImageTemplates_CreateOrUpdate", Permission.WRITE, put, Body.JSON, API_VERSIONS),
    Route("PATCH", ONE, "VirtualMachineImageTemplates_Update", Permission.WRITE, patch, Body.JSON, API_VERSIONS),
    Route("DELETE", ONE, "VirtualMachineImageTemplates_Delete", Permission.DELETE, delete, api_versions=API_VERSIONS),
)
