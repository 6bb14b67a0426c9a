"""Microsoft.Resources/deployments: validate, what-if, create, read, cancel, delete, and their operations.

The template's text is not kept: it may hold secrets. Source: the ARM reference of deployments; az's requests.
"""

import functools
import hashlib
import re
import uuid
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime
from typing import Any

from vmkiln.api.identity.caller import Permission
from vmkiln.api.protocol.arm import accepted_headers, as_arm_error, error_body
from vmkiln.api.protocol.listing import PAGE, page
from vmkiln.api.protocol.revision import time_text
from vmkiln.api.protocol.route import Answer, Body, Call, Route
from vmkiln.api.resources.deployment_changes import changes_of
from vmkiln.api.resources.deployment_check import (
    deployment_id_of,
    invalid,
    known_properties,
    location_of,
    mode_of,
    plan_of,
)
from vmkiln.api.resources.deployment_deletions import delete_others
from vmkiln.api.resources.deployment_run import DeploymentRun, Done, Tools, output_resources
from vmkiln.arm_template.deployment_plan import DeploymentPlan
from vmkiln.azure_names import DEPLOYMENT, OperationStatus, ProvisioningState
from vmkiln.errors import ArmError, TemplateInvalid
from vmkiln.secrecy.secret_mask import SecretMask
from vmkiln.store.database import Store
from vmkiln.store.resource_table import Watch
from vmkiln.store.rows import ResourceRow

SUBSCRIPTION = "/subscriptions/{subscriptionId}"
GROUP = f"{SUBSCRIPTION}/resourceGroups/{{resourceGroupName}}"
NAME = re.compile(r"[-\w._()]{1,64}")
TERMINAL = {ProvisioningState.SUCCEEDED, ProvisioningState.FAILED, ProvisioningState.CANCELED}


def duration_text(started: datetime, ended: datetime) -> str:
    """A time span as ISO 8601 has it, such as `PT2.5S`; pure."""
    return f"PT{max(0.0, (ended - started).total_seconds()):.7f}".rstrip("0").rstrip(".") + "S"


def deployment_body(row: ResourceRow) -> dict[str, Any]:
    """A deployment as clients see it."""
    body: dict[str, Any] = {"id": row.id, "name": row.name, "type": DEPLOYMENT, "properties": dict(row.properties)}
    if not row.resource_group:
        body["location"] = row.location
    return body


def validate(call: Call) -> Answer:
    """POST validate: what would be made; every mistake, when there are any."""
    plan = plan_of(call)
    resources = plan.planned()
    now = time_text(call.service.now())
    properties = {
        **known_properties(call, plan, resources),
        "provisioningState": ProvisioningState.SUCCEEDED,
        "timestamp": now,
        "duration": "PT0S",
        "validatedResources": [{"id": item.id} for item in resources if item.is_wanted and not item.is_existing],
    }
    name = call.names["deploymentName"]
    return Answer(200, {"id": deployment_id_of(call), "name": name, "type": DEPLOYMENT, "properties": properties})


def what_if(call: Call) -> Answer:
    """POST whatIf: what would change. A refused template is a result of status Failed, which az tells in one line."""
    try:
        plan = plan_of(call)
    except ArmError as error:
        if not _is_told_later(error):
            raise
        return Answer(200, {"status": OperationStatus.FAILED, **error_body(error)})
    run = DeploymentRun(plan, _tools(call, lambda _done: None))
    changes = changes_of(call, plan, run, is_complete=mode_of(call) == "Complete")
    return Answer(
        200,
        {
            "status": OperationStatus.SUCCEEDED,
            "properties": {"correlationId": call.origin.correlation_id, "changes": changes},
        },
    )


def _tools(call: Call, record: Any, deployment_id: str = "") -> Tools:
    def is_cancelled() -> bool:
        row = call.service.store.resources.get(deployment_id) if deployment_id else None
        # also when another service took this one for dead and said so
        return row is not None and (bool(row.state.get("cancel")) or row.properties["provisioningState"] in TERMINAL)

    def watched(resource_id: str) -> AbstractContextManager[Watch]:
        return call.service.store.resources.changes.watched({resource_id, deployment_id})

    service = call.service
    return Tools(
        service.dispatch,
        call.caller,
        service.now,
        record,
        is_cancelled,
        watched,
        call.base_url,
        call.origin,
        service.trials,
    )


def _is_told_later(error: ArmError) -> bool:
    """Whether a refusal is the result of the deployment instead of the answer to its request.

    az reads an error of these two requests after it threw their body away, and ends in a traceback.
    """
    return error.code in {"InvalidTemplate", "InvalidTemplateDeployment"}


def put(call: Call) -> Answer:
    """PUT: carry it out, in the background. A refused template is a deployment that failed at once."""
    name = call.names["deploymentName"]
    if not NAME.fullmatch(name):
        raise ArmError(400, "InvalidDeploymentName", f"'{name[:80]}' is not a name of a deployment", target="name")
    location = location_of(call)
    plan: DeploymentPlan | None = None
    refusal: dict[str, Any] = {}
    try:
        plan = plan_of(call)
    except ArmError as error:
        if not _is_told_later(error):
            raise
        refusal = error_body(error)
    deployment_id = deployment_id_of(call)
    existing = call.service.store.resources.get(deployment_id)
    if existing is not None and existing.properties.get("provisioningState") not in TERMINAL:
        message = f"Unable to edit or replace deployment '{name}': it is still active."
        raise ArmError(409, "DeploymentActive", message)
    operation_id = str(uuid.uuid4())
    started = call.service.now()
    properties = {
        **(known_properties(call, plan, plan.planned()) if plan else {"correlationId": call.origin.correlation_id}),
        "provisioningState": ProvisioningState.RUNNING if plan else ProvisioningState.FAILED,
        "timestamp": time_text(started),
        "duration": "PT0S",
        **refusal,
    }
    made = ResourceRow(
        id=deployment_id,
        type=DEPLOYMENT,
        name=name,
        subscription_id=call.names["subscriptionId"],
        resource_group=call.names.get("resourceGroupName", ""),
        location=location,
        properties=properties,
        state={"operation_id": operation_id, "operations": [], "session": call.service.store.sessions.own},
        created_by=call.caller.name,
        changed_by=call.caller.name,
    )
    if plan is None:
        row = call.service.store.resources.put(made)
    else:
        with call.service.background.reserved(call.names["subscriptionId"]) as begin:
            row = call.service.store.resources.put(made, will_grow=True)
            begin(functools.partial(_carry_out, call, plan, deployment_id, started))
    url = f"{call.base_url}{deployment_id}/operationStatuses/{operation_id}?api-version={call.api_version}"
    return Answer(200 if existing else 201, deployment_body(row), accepted_headers(url))


def _carry_out(call: Call, plan: DeploymentPlan, deployment_id: str, started: datetime) -> None:
    store = call.service.store

    def record(done: Done) -> None:
        def added(row: ResourceRow) -> ResourceRow:
            kept = [*row.state.get("operations", []), operation_body(deployment_id, done)]
            return replace(row, state={**row.state, "operations": kept})

        store.resources.change(deployment_id, added)

    properties: dict[str, Any]
    try:
        tools = _tools(call, record, deployment_id)
        outputs, made = DeploymentRun(plan, tools).carry_out()
        if mode_of(call) == "Complete" and "resourceGroupName" in call.names:
            delete_others(call, plan, tools)
        properties = {
            "provisioningState": ProvisioningState.SUCCEEDED,
            "outputs": SecretMask.of(plan.secrets).value(outputs),
            "outputResources": output_resources(made),
        }
    except TemplateInvalid as error:
        properties = {
            "provisioningState": ProvisioningState.FAILED,
            "error": error_body(invalid(error, SecretMask.of(plan.secrets)))["error"],
        }
    except Exception as error:
        problem = as_arm_error(error, request_id=call.request_id, is_local=call.caller.is_local)
        is_canceled = problem.code == "DeploymentCanceled"
        state = ProvisioningState.CANCELED if is_canceled else ProvisioningState.FAILED
        told = SecretMask.of(plan.secrets).value(error_body(problem)["error"])
        properties = {"provisioningState": state, "error": told}
    ended = call.service.now()
    times = {"timestamp": time_text(ended), "duration": duration_text(started, ended)}
    store.resources.change(deployment_id, functools.partial(_ended, properties={**properties, **times}))


def _ended(row: ResourceRow, *, properties: Mapping[str, Any]) -> ResourceRow:
    """A deployment that ended, unless it has ended before; pure."""
    if row.properties.get("provisioningState") in TERMINAL:
        return row
    return replace(row, properties={**row.properties, **properties})


def operation_body(deployment_id: str, done: Done) -> dict[str, Any]:
    """One operation of a deployment."""
    operation_id = hashlib.sha256(done.id.lower().encode()).hexdigest()[:16].upper()
    properties: dict[str, Any] = {
        "provisioningOperation": done.operation,
        "provisioningState": done.state,
        "timestamp": time_text(done.ended),
        "duration": duration_text(done.started, done.ended),
        "statusCode": {200: "OK", 201: "Created", 202: "Accepted"}.get(done.status_code, "BadRequest"),
        "targetResource": {"id": done.id, "resourceType": done.type, "resourceName": done.id.rsplit("/", 1)[-1]},
    }
    if done.error:
        properties["statusMessage"] = {"status": OperationStatus.FAILED, "error": dict(done.error)}
    return {"id": f"{deployment_id}/operations/{operation_id}", "operationId": operation_id, "properties": properties}


def find(call: Call) -> ResourceRow:
    """The deployment of a call's path. Raises: `ArmError` 404."""
    row = call.service.store.resources.get(deployment_id_of(call))
    if row is None:
        name = call.names["deploymentName"]
        raise ArmError(404, "DeploymentNotFound", f"Deployment '{name}' could not be found.")
    return row


def get(call: Call) -> Answer:
    """GET one."""
    return Answer(200, deployment_body(find(call)))


def exists(call: Call) -> Answer:
    """HEAD: 204 or 404."""
    return Answer(204 if call.service.store.resources.get(deployment_id_of(call)) else 404)


def list_deployments(call: Call) -> Answer:
    """GET all of a group or subscription; `$filter=provisioningState eq 'Failed'` and `$top` choose."""
    group, table = call.names.get("resourceGroupName", ""), call.service.store.resources
    state = wanted_state(call.query.get("$filter", ""))

    def fetch(after: str) -> list[ResourceRow]:
        return table.list(
            type=DEPLOYMENT,
            subscription_id=call.names["subscriptionId"],
            resource_group=group,
            after=after,
            limit=PAGE + 1,
        )

    def is_wanted(row: ResourceRow) -> bool:
        own = str(row.properties.get("provisioningState", "")).lower()
        return bool(group or not row.resource_group) and state in {"", own}

    after, found = call.query.get("$skiptoken", ""), list[ResourceRow]()
    while len(found) <= PAGE and (rows := fetch(after)):
        found += filter(is_wanted, rows)
        after = rows[-1].key
        if len(rows) <= PAGE:
            break
    return page(call, found, lambda chosen: [deployment_body(row) for row in chosen])


def wanted_state(text: str) -> str:
    """The state that a filter of deployments asks for, in lower case; '' for none. Raises: `ArmError` 400."""
    if not text.strip():
        return ""
    found = re.fullmatch(r"\s*provisioningState\s+eq\s+'([A-Za-z]{1,30})'\s*", text, re.IGNORECASE)
    if found is None:
        message = f"The filter '{text[:200]}' is not understood."
        hint = "such as provisioningState eq 'Succeeded'"
        raise ArmError(400, "InvalidFilterInQueryString", message, target="$filter", hint=hint)
    return found[1].lower()


def operation_status(call: Call) -> Answer:
    """GET how a deployment goes."""
    row = find(call)
    if row.state.get("operation_id") != call.names["operationId"].lower():
        raise ArmError(404, "NotFound", f"The operation '{call.names['operationId']}' was not found.")
    state = str(row.properties["provisioningState"])
    body: dict[str, Any] = {"status": state}
    if state in {ProvisioningState.FAILED, ProvisioningState.CANCELED}:
        body["error"] = row.properties.get("error", {})
    return Answer(200, body, {} if state in TERMINAL else {"Retry-After": "1"})


def list_operations(call: Call) -> Answer:
    """GET what was done for a deployment, resource by resource."""
    return Answer(200, {"value": list(find(call).state.get("operations", []))})


def cancel(call: Call) -> Answer:
    """POST cancel: what is being made is finished, nothing more is begun."""
    row = find(call)
    if row.properties["provisioningState"] in TERMINAL:
        raise ArmError(409, "DeploymentCannotBeCancelled", f"Deployment '{row.name}' has ended already.")
    call.service.store.resources.change(row.id, lambda old: replace(old, state={**old.state, "cancel": True}))
    return Answer(204)


def delete(call: Call) -> Answer:
    """DELETE the record of a deployment; what it made stays."""
    row = call.service.store.resources.get(deployment_id_of(call))
    if row is None:
        return Answer(204)
    if row.properties["provisioningState"] not in TERMINAL:
        raise ArmError(409, "DeploymentActive", f"Deployment '{row.name}' is still active: cancel it first.")
    call.service.store.resources.delete(row.id)
    return Answer(204)


def end_interrupted(store: Store, going_on: Collection[str]) -> None:
    """End the deployments whose session is none of those that go on; they can be put again."""
    error: Mapping[str, Any] = {
        "code": "DeploymentInterrupted",
        "message": "The service ended before the deployment did. Put it again: what is there already stays as it is.",
    }
    for row in store.resources.in_provisioning_state(DEPLOYMENT, {ProvisioningState.RUNNING}):
        if row.state.get("session", "") not in going_on:
            ended = {"provisioningState": ProvisioningState.FAILED, "error": error}
            store.resources.change(row.id, functools.partial(_ended, properties=ended))


def _routes() -> list[Route]:
    found: list[Route] = []
    for suffix, scope in (("", GROUP), ("AtSubscriptionScope", SUBSCRIPTION)):
        every = f"{scope}/providers/{DEPLOYMENT}"
        one = f"{every}/{{deploymentName}}"
        found += [
            Route("GET", every, f"Deployments_List{suffix}", Permission.READ, list_deployments),
            Route("GET", one, f"Deployments_Get{suffix}", Permission.READ, get),
            Route("HEAD", one, f"Deployments_CheckExistence{suffix}", Permission.READ, exists),
            Route("PUT", one, f"Deployments_CreateOrUpdate{suffix}", Permission.WRITE, put, Body.LENIENT_JSON),
            Route("DELETE", one, f"Deployments_Delete{suffix}", Permission.DELETE, delete),
            Route(
                "POST",
                f"{one}/validate",
                f"Deployments_Validate{suffix}",
                Permission.WRITE,
                validate,
                Body.LENIENT_JSON,
            ),
            Route("POST", f"{one}/whatIf", f"Deployments_WhatIf{suffix}", Permission.WRITE, what_if, Body.LENIENT_JSON),
            Route("POST", f"{one}/cancel", f"Deployments_Cancel{suffix}", Permission.WRITE, cancel, Body.OPTIONAL_JSON),
            Route(
                "GET",
                f"{one}/operationStatuses/{{operationId}}",
                f"Deployments_GetStatus{suffix}",
                Permission.READ,
                operation_status,
            ),
            Route(
                "GET",
                f"{one}/operations",
                f"DeploymentOperations_ListByProvider{suffix}",
                Permission.READ,
                list_operations,
            ),
            Route(
                "GET",
                f"{scope}/deployments/{{deploymentName}}/operations",
                f"DeploymentOperations_List{suffix}",
                Permission.READ,
                list_operations,
            ),
        ]
    return found


ROUTES = tuple(_routes())
