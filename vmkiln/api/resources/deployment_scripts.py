"""Microsoft.Resources/deploymentScripts: those that start the run of an image template, as public templates have them.

No script is run: what it starts is read from it and started, with the rights of whoever puts it. It is as done as the
runs that it waits for. Another script is refused when it is put, and before that when its deployment is validated.
Source: the ARM reference of Microsoft.Resources/deploymentScripts, 2020-10-01 and later.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from vmkiln.api.identity.caller import Permission
from vmkiln.api.protocol.groups import GROUP_PATH, group_of
from vmkiln.api.protocol.listing import PAGE, page, readable
from vmkiln.api.protocol.revision import check_etag, etag_of, system_data, time_text
from vmkiln.api.protocol.route import Answer, Body, Call, Route
from vmkiln.api.protocol.tags import check_location, location_mistakes, refuse, tag_mistakes
from vmkiln.api.resources.run_scripts import RunScript, read_script
from vmkiln.azure_names import DEPLOYMENT_SCRIPT, NEWEST_API_VERSION, ProvisioningState, plain_location
from vmkiln.errors import ArmError, Mistake
from vmkiln.run_state import RunState
from vmkiln.secrecy.secret_mask import SecretMask
from vmkiln.store.rows import ResourceRow, RunRow

ALL = f"{GROUP_PATH}/{DEPLOYMENT_SCRIPT}"
ONE = f"{ALL}/{{scriptName}}"
IN_SUBSCRIPTION = f"/subscriptions/{{subscriptionId}}/providers/{DEPLOYMENT_SCRIPT}"
NAME = re.compile(r"[A-Za-z0-9_.()-]{1,90}")
KINDS = {"azurepowershell": "AzurePowerShell", "azurecli": "AzureCLI"}
DEFAULT_TIMEOUT = timedelta(days=1)
_DURATION = re.compile(r"P(?:(\d{1,4})D)?(?:T(?:(\d{1,6})H)?(?:(\d{1,6})M)?(?:(\d{1,8})S)?)?", re.IGNORECASE)
NOT_SHOWN = {"provisioningState", "outputs", "status"}


def duration_of(text: str) -> timedelta | None:
    """A time span such as `PT1H30M` or `P1D`; none for what is none."""
    found = _DURATION.fullmatch(text)
    if found is None or not any(found.groups()):
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)


def script_mistakes(body: Mapping[str, Any], *, subscription_id: str) -> tuple[RunScript | None, list[Mistake]]:
    """What the resource's script does, or everything that is wrong with the resource; pure."""
    properties = body.get("properties")
    if not isinstance(properties, dict):
        return None, [Mistake.missing("properties")]
    script, mistakes = read_script(properties, body.get("kind"), subscription_id=subscription_id)
    for member in ("timeout", "retentionInterval"):
        given = properties.get(member)
        if given is not None and (not isinstance(given, str) or duration_of(given) is None):
            mistakes.append(Mistake(f"properties.{member}", "must be a time span", "such as PT1H or P1D"))
    return script, mistakes


def _kept(properties: Mapping[str, Any]) -> dict[str, Any]:
    """The properties without secrets."""
    kept = {name: value for name, value in properties.items() if name not in NOT_SHOWN}
    if "environmentVariables" in kept:
        kept["environmentVariables"] = [
            {name: value for name, value in item.items() if name != "secureValue"}
            for item in kept["environmentVariables"]
        ]
    kept.pop("storageAccountSettings", None)  # has the key of an account
    return kept


def _secure_values(properties: Mapping[str, Any]) -> list[str]:
    """What the script may know and nobody is shown; an output or a text of the script may have it."""
    given = [item.get("secureValue") for item in properties.get("environmentVariables") or ()]
    return [value for value in given if isinstance(value, str)]


def put(call: Call) -> Answer:
    """PUT: the runs are started at once; the same resource once more starts none, unless its last ones failed."""
    group, name = group_of(call), call.names["scriptName"]
    mistakes = [*location_mistakes(call.body), *tag_mistakes(call.body.get("tags"))]
    if not NAME.fullmatch(name):
        mistakes.append(Mistake("name", f"`{name[:100]}` is not a name of a deployment script"))
    script, wrong = script_mistakes(call.body, subscription_id=call.names["subscriptionId"])
    refuse([*mistakes, *wrong], code="DeploymentScriptNotSupported")
    assert script is not None  # else something was wrong with it
    existing = call.service.store.resources.get(call.resource_id)
    check_etag(call, existing)
    if existing is None:
        check_location(call, call.body["location"], DEPLOYMENT_SCRIPT)
    mask = SecretMask.of([*call.secrets, *_secure_values(call.body["properties"])])
    properties, kind = mask.value(_kept(call.body["properties"])), KINDS[call.body["kind"].lower()]
    runs, log = (dict(existing.state["runs"]), list(existing.state["log"])) if existing else ({}, [])
    state = {"kind": kind, "waits": script.waits, "outputs": mask.value(script.outputs)}
    made = ResourceRow(
        id=f"{group.id}/providers/{DEPLOYMENT_SCRIPT}/{name}",
        type=DEPLOYMENT_SCRIPT,
        name=name,
        subscription_id=call.names["subscriptionId"],
        resource_group=group.name,
        location=plain_location(call.body["location"]),
        tags=mask.value(call.body.get("tags") or {}),
        identity=call.body.get("identity") if isinstance(call.body.get("identity"), dict) else None,
        properties=properties,
        state={**state, "runs": runs, "log": log},
        created_by=call.caller.name,
        changed_by=call.caller.name,
    )
    if existing is None or _is_to_run(call, existing, properties):
        call.service.store.resources.check_room(made)  # before anything runs of which there would be no record
        runs, log = _start(call, script)
    row = call.service.store.resources.put(replace(made, state={**state, "runs": runs, "log": log}))
    return Answer(200 if existing else 201, _body(call, row), {"ETag": etag_of(row)})


def _is_to_run(call: Call, existing: ResourceRow, properties: Mapping[str, Any]) -> bool:
    """Whether the script is another one, was told to run again (`forceUpdateTag`), or failed the last time."""
    state = _standing(call, existing)[0]
    return state == ProvisioningState.FAILED or dict(existing.properties) != properties


def _start(call: Call, script: RunScript) -> tuple[dict[str, str], list[str]]:
    """Start the runs; gives their ids by the templates', and what is told. Raises: `ArmError` as the run does."""
    runs, log = {}, []
    for template_id in script.template_ids:
        answer = call.service.dispatch(
            "POST",
            f"{template_id}/run",
            caller=call.caller,
            query={"api-version": NEWEST_API_VERSION},
            base_url=call.base_url,
            origin=call.origin,
        )
        if answer.status >= 400:
            error = answer.body.get("error", {}) if isinstance(answer.body, dict) else {}
            message = f"starting the run of '{template_id}' was refused: {error.get('message', '')}"
            raise ArmError(answer.status, str(error.get("code", "DeploymentScriptError")), message)
        runs[template_id] = answer.detail["runId"]
        log.append(f"{time_text(call.service.now())} started the run {runs[template_id]} of {template_id}")
    return runs, log


def _standing(call: Call, row: ResourceRow) -> tuple[ProvisioningState, Mapping[str, Any], datetime | None, list[str]]:
    """State, error, end, and what is told of the runs by now."""
    runs = call.service.store.runs.by_id(list(row.state["runs"].values()))
    told = [_line(template_id, runs.get(run_id)) for template_id, run_id in row.state["runs"].items()]
    if not row.state["waits"]:
        return ProvisioningState.SUCCEEDED, {}, row.changed, told
    going_on = [run for run in runs.values() if run.ended is None]
    limit = duration_of(str(row.properties.get("timeout", ""))) or DEFAULT_TIMEOUT
    if going_on and row.changed is not None and call.service.now() - row.changed > limit:
        text = f"The script was not done within {row.properties.get('timeout', 'P1D')}; the run goes on."
        return ProvisioningState.FAILED, {"code": "DeploymentScriptExceededMaxAllowedTime", "message": text}, None, told
    if going_on:
        return ProvisioningState.RUNNING, {}, None, told
    ended = max((run.ended for run in runs.values() if run.ended), default=row.changed)
    if len(runs) == len(row.state["runs"]) and all(run.state == RunState.SUCCEEDED for run in runs.values()):
        return ProvisioningState.SUCCEEDED, {}, ended, told
    return ProvisioningState.FAILED, {"code": "DeploymentScriptError", "message": "; ".join(told)}, ended, told


def _line(template_id: str, run: RunRow | None) -> str:
    if run is None:
        return f"the run of {template_id} is gone"
    return f"the run {run.run_id} of {template_id} is {run.state}{': ' if run.message else ''}{run.message}"


def _body(call: Call, row: ResourceRow) -> dict[str, Any]:
    state, error, ended, _ = _standing(call, row)
    status: dict[str, Any] = {"startTime": time_text(row.changed), "endTime": time_text(ended)}
    failure: dict[str, Any] = {}
    if error:
        status["error"] = dict(error)
        failure["provisioningError"] = {"provisioningErrorCode": error["code"], "message": error["message"]}
    return {
        "id": row.id,
        "name": row.name,
        "type": DEPLOYMENT_SCRIPT,
        "kind": row.state["kind"],
        "location": row.location,
        "tags": dict(row.tags),
        **({"identity": dict(row.identity)} if row.identity else {}),
        "properties": {
            **row.properties,
            "provisioningState": state,
            "status": status,
            "outputs": dict(row.state["outputs"]),
            **failure,
        },
        "systemData": system_data(row),
    }


def _find(call: Call) -> ResourceRow:
    group, name = call.names["resourceGroupName"], call.names["scriptName"]
    row = call.service.store.resources.get("/".join(call.resource_id.split("/")[:9]))
    if row is None or row.type != DEPLOYMENT_SCRIPT:
        message = f"The Resource '{DEPLOYMENT_SCRIPT}/{name}' under resource group '{group}' was not found."
        raise ArmError(404, "ResourceNotFound", message)
    return row


def get(call: Call) -> Answer:
    """GET one."""
    row = _find(call)
    return Answer(200, _body(call, row), {"ETag": etag_of(row)})


def patch(call: Call) -> Answer:
    """PATCH: tags."""
    row, tags = _find(call), call.body.get("tags")
    unknown = [Mistake(name, "cannot be changed") for name in call.body if name not in {"tags", "name"}]
    refuse([*unknown, *tag_mistakes(tags)])
    if tags is not None:
        row = call.service.store.resources.change(row.id, lambda old: replace(old, tags=tags), is_asked=True) or row
    return Answer(200, _body(call, row), {"ETag": etag_of(row)})


def delete(call: Call) -> Answer:
    """DELETE: the runs that it started go on."""
    row = call.service.store.resources.get(call.resource_id)
    if row is None or row.type != DEPLOYMENT_SCRIPT:
        return Answer(204)
    call.service.store.resources.delete(row.id)
    return Answer(200)


def list_scripts(call: Call) -> Answer:
    """GET all of a group, or of a subscription as far as the caller may read them."""
    names = call.names
    if "resourceGroupName" in names:
        group_of(call)

    def fetch(after: str, scopes: Collection[str] | None) -> list[ResourceRow]:
        return call.service.store.resources.list(
            type=DEPLOYMENT_SCRIPT,
            subscription_id=names["subscriptionId"],
            resource_group=names.get("resourceGroupName", ""),
            after=after,
            limit=PAGE + 1,
            scopes=scopes,
        )

    return page(call, readable(call, fetch), lambda rows: [_body(call, row) for row in rows])


def _log_body(call: Call, row: ResourceRow) -> dict[str, Any]:
    lines = [*row.state["log"], *_standing(call, row)[3]]
    log = "\n".join([*lines, "its whole log: `az container logs` and `vmkiln template logs`"])
    return {
        "id": f"{row.id}/logs/default",
        "name": "default",
        "type": f"{DEPLOYMENT_SCRIPT}/logs",
        "properties": {"log": log},
    }


def list_logs(call: Call) -> Answer:
    """GET the logs: one, of what was started and what came of it."""
    return Answer(200, {"value": [_log_body(call, _find(call))]})


def get_log(call: Call) -> Answer:
    """GET the log."""
    return Answer(200, _log_body(call, _find(call)))


ROUTES = (
    Route("GET", IN_SUBSCRIPTION, "DeploymentScripts_ListBySubscription", Permission.ANY, list_scripts),
    Route("GET", ALL, "DeploymentScripts_ListByResourceGroup", Permission.READ, list_scripts),
    Route("GET", ONE, "DeploymentScripts_Get", Permission.READ, get),
    Route("PUT", ONE, "DeploymentScripts_Create", Permission.WRITE, put, Body.JSON),
    Route("PATCH", ONE, "DeploymentScripts_Update", Permission.WRITE, patch, Body.JSON),
    Route("DELETE", ONE, "DeploymentScripts_Delete", Permission.DELETE, delete),
    Route("GET", f"{ONE}/logs", "DeploymentScripts_GetLogs", Permission.READ, list_logs),
    Route("GET", f"{ONE}/logs/default", "DeploymentScripts_GetLogsDefault", Permission.READ, get_log),
)
