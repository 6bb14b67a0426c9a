"""Asynchronous operations: their status URLs, which stay good after a restart.

Source: docs/reference/rest-api.md#asynchronous-operations, #on-the-wire; ARM's asynchronous operation pattern.
"""

from collections.abc import Mapping
from typing import Any

from vmkiln.api.identity.caller import Permission
from vmkiln.api.protocol.arm import accepted_headers
from vmkiln.api.protocol.revision import time_text
from vmkiln.api.protocol.route import Answer, Call, Route
from vmkiln.api.protocol.run_message import run_message
from vmkiln.azure_names import OperationStatus
from vmkiln.errors import ArmError, RunCanceled
from vmkiln.run_state import RunState
from vmkiln.store.rows import OperationRow

LOCATION = "/subscriptions/{subscriptionId}/providers/Microsoft.VirtualMachineImages/locations/{location}"
RETRY_SECONDS = 1
STATUS_OF_RUN: Mapping[str, str] = {
    RunState.SUCCEEDED: OperationStatus.SUCCEEDED,
    RunState.PARTIALLY_SUCCEEDED: OperationStatus.SUCCEEDED,
    RunState.FAILED: OperationStatus.FAILED,
    RunState.CANCELED: OperationStatus.CANCELED,
}


def begin(
    call: Call, kind: str, *, resource_id: str, location: str, run_id: str = "", is_done: bool = False
) -> OperationRow:
    """Record an operation for a call in a subscription; `is_done` is one that the call itself has done."""
    return call.service.store.operations.begin(
        kind,
        subscription_id=call.names["subscriptionId"],
        location=_plain_location(location),
        resource_id=resource_id,
        run_id=run_id,
        is_done=is_done,
    )


def status_headers(call: Call, operation: OperationRow) -> Mapping[str, str]:
    """Headers that send the client to the operation's status, for PUT and PATCH."""
    return accepted_headers(_url(call, operation, "operations"), retry_after_seconds=RETRY_SECONDS)


def result_headers(call: Call, operation: OperationRow) -> Mapping[str, str]:
    """Headers that send the client to the operation's status and to its result, for DELETE and a run.

    Both, as Azure does: some clients take only a status of 200 `Succeeded` for an end, others the 204 of the result.
    """
    location = _url(call, operation, "operationResults")
    status = _url(call, operation, "operations")
    return accepted_headers(status, location=location, retry_after_seconds=RETRY_SECONDS)


def _plain_location(location: str) -> str:
    return "".join(letter for letter in location.lower() if letter.isalnum() or letter in "-_.") or "local"


def _url(call: Call, operation: OperationRow, kind: str) -> str:
    place = LOCATION.format(subscriptionId=call.names["subscriptionId"], location=operation.location)
    return f"{call.base_url}{place}/{kind}/{operation.operation_id}?api-version={call.api_version}"


def current(call: Call, operation: OperationRow) -> OperationRow:
    """The operation as it is now; one of a run is what the run is."""
    if not operation.run_id:
        return operation
    run = call.service.store.runs.by_id([operation.run_id]).get(operation.run_id)
    status = OperationStatus.FAILED if run is None else STATUS_OF_RUN.get(run.state, OperationStatus.IN_PROGRESS)
    error: dict[str, Any] = {}
    if status == OperationStatus.FAILED:
        error = {"code": "RunLost", "message": "gone"}
        if run is not None:
            template = call.service.store.resources.get(operation.resource_id)
            group_id = str(template.properties.get("exactStagingResourceGroup") or "") if template else ""
            error = {"code": run.error_code, "message": run_message(run, staging_group_id=group_id)}
    if status == OperationStatus.CANCELED:
        error = {"code": RunCanceled.code, "message": "The run was canceled."}
    ended = run.ended if run else operation.ended
    return OperationRow(**{**vars(operation), "status": status, "error": error, "ended": ended})


def find(call: Call) -> OperationRow:
    """The operation a call asks about. Raises: `ArmError` 404, for one of another subscription too."""
    found = call.service.store.operations.get(call.names["operationId"])
    if found is None or found.subscription_id != call.names["subscriptionId"].lower():
        raise ArmError(404, "NotFound", f"The operation '{call.names['operationId']}' was not found.")
    if not call.may(Permission.READ, found.resource_id):
        raise ArmError(404, "NotFound", f"The operation '{call.names['operationId']}' was not found.")
    return current(call, found)


def get_status(call: Call) -> Answer:
    """The status of an operation: `{id, name, status, startTime, endTime?, error?}`."""
    operation = find(call)
    waiting = {"Retry-After": str(RETRY_SECONDS)} if operation.status == OperationStatus.IN_PROGRESS else {}
    return Answer(200, _status_body(call, operation), waiting)


def _status_body(call: Call, operation: OperationRow) -> Mapping[str, Any]:
    body: dict[str, Any] = {
        "id": call.resource_id,
        "name": operation.operation_id.upper(),
        "status": operation.status,
        "startTime": time_text(operation.started),
    }
    if operation.ended is not None:
        body["endTime"] = time_text(operation.ended)
    if operation.error:
        body["error"] = dict(operation.error)
    return body


def get_result(call: Call) -> Answer:
    """202 while an operation goes on; then 204, of a run its status; its error when it failed or was cancelled.

    A run ends in a body as on Azure, where its `Location` is the address of its status: Ansible's
    `azure_rm_resource` takes an end without a body for a failure.
    """
    operation = find(call)
    if operation.status == OperationStatus.IN_PROGRESS:
        location = f"{call.base_url}{call.resource_id}?api-version={call.api_version}"
        return Answer(202, None, accepted_headers("", location=location, retry_after_seconds=RETRY_SECONDS))
    if operation.status in {OperationStatus.FAILED, OperationStatus.CANCELED}:
        raise ArmError(409, str(operation.error.get("code")), str(operation.error.get("message")))
    return Answer(200, _status_body(call, operation)) if operation.run_id else Answer(204)


# May read: what the caller sees is decided by the resource the operation is about.
ROUTES = (
    Route("GET", f"{LOCATION}/operations/{{operationId}}", "Operations_GetStatus", Permission.ANY, get_status),
    Route("GET", f"{LOCATION}/operationResults/{{operationId}}", "Operations_GetResult", Permission.ANY, get_result),
)
