"""An image template as clients see it; pure.

Source: docs/reference/rest-api.md#on-the-wire; docs/reference/image-template.md#template;
docs/reference/behaviour.md#interlocks.
"""

import uuid
from collections.abc import Callable, Mapping
from typing import Any

from vmkiln.api.protocol.revision import system_data, time_text
from vmkiln.api.protocol.run_message import run_message
from vmkiln.azure_names import IMAGE_TEMPLATE, TRIGGER
from vmkiln.run_state import Phase, RunState
from vmkiln.store.rows import ResourceRow, RunRow

NOT_ENDED = "0001-01-01T00:00:00Z"  # what Azure answers for the end of a run that goes on
SUB_STATES = {Phase.QUEUED, Phase.BUILDING, Phase.CUSTOMIZING, Phase.OPTIMIZING, Phase.VALIDATING, Phase.DISTRIBUTING}
Principal = Callable[[str], tuple[str, str]]


def identity_body(identity: Mapping[str, Any] | None, principal: Principal) -> dict[str, Any]:
    """The identity with each principalId and clientId; `principal` gives both for an id."""
    if not identity or identity.get("type") == "None":
        return {"type": "None"}
    assigned = {}
    for key in identity.get("userAssignedIdentities") or {}:
        principal_id, client_id = principal(key)
        assigned[key] = {"principalId": principal_id, "clientId": client_id}
    return {"type": identity["type"], "userAssignedIdentities": assigned}


def derived_principal(identity_id: str) -> tuple[str, str]:
    """Stable ids for an identity that is not kept here."""
    name = identity_id.lower()
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"principal:{name}")), str(
        uuid.uuid5(uuid.NAMESPACE_URL, f"client:{name}")
    )


def template_body(
    row: ResourceRow, last_run: RunRow | None, *, principal: Principal = derived_principal
) -> dict[str, Any]:
    """The whole resource, with the status of its last run."""
    properties: dict[str, Any] = {
        "buildTimeoutInMinutes": 0,
        "stagingResourceGroup": "",
        "exactStagingResourceGroup": "",
        **row.properties,
    }
    if (source := properties.get("source")) is not None:
        properties["source"] = _with_exact_version(source, last_run)
    if last_run is not None:
        properties["lastRunStatus"] = run_status(last_run, staging_group_id=properties["exactStagingResourceGroup"])
    return {
        "id": row.id,
        "name": row.name,
        "type": IMAGE_TEMPLATE,
        "location": row.location,
        "tags": dict(row.tags),
        "identity": identity_body(row.identity, principal),
        "properties": properties,
        "systemData": system_data(row),
    }


def _with_exact_version(source: Mapping[str, Any], last_run: RunRow | None) -> dict[str, Any]:
    """A source with its exactVersion: what the last run had, what was found at provisioning, else what was written.

    It differs from what was written only where that is `latest`.
    """
    written = {"PlatformImage": source.get("version"), "SharedImageVersion": source.get("imageVersionId")}
    version = written.get(str(source.get("type"))) or ("latest" if source.get("type") == "PlatformImage" else "")
    if not version:
        return dict(source)
    used = ""
    if last_run is not None and version.lower().rsplit("/", 1)[-1] == "latest":
        used = str(last_run.facts.get("source_exact_version") or "")
    return {**source, "exactVersion": used or source.get("exactVersion") or version}


def run_status(run: RunRow, *, staging_group_id: str = "") -> dict[str, Any]:
    """`lastRunStatus`: startTime, endTime, runState, runSubState while it goes on, message."""
    state, sub_state = str(run.state), run.sub_state
    if state == RunState.QUEUED:
        state, sub_state = str(RunState.RUNNING), str(Phase.QUEUED)
    status: dict[str, Any] = {
        "startTime": time_text(run.started),
        "endTime": time_text(run.ended) or NOT_ENDED,
        "runState": state,
    }
    if state == RunState.RUNNING and sub_state in SUB_STATES:
        status["runSubState"] = sub_state
    status["message"] = run_message(run, staging_group_id=staging_group_id)
    return status


def trigger_body(row: ResourceRow, status: tuple[str, str]) -> dict[str, Any]:
    """A trigger with its status."""
    code, message = status
    return {
        "id": row.id,
        "name": row.name,
        "type": TRIGGER,
        "properties": {
            **row.properties,
            "status": {"code": code, "message": message, "time": time_text(row.changed)},
        },
        "systemData": system_data(row),
    }
