"""Who did what: every request that may change something is recorded."""

import logging
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from in_process import (
    GROUP,
    OTHER_SUBSCRIPTION,
    SUBSCRIPTION,
    TEMPLATE,
    InProcess,
    a_template,
    add_group,
    ended_run,
    provisioned,
    route_table,
    wait_for,
)

from vmkiln.api.identity.caller import Permission
from vmkiln.api.protocol.auditing import AUDITED, action_name
from vmkiln.api.protocol.dispatcher import resource_id_of
from vmkiln.api.protocol.route import Body, Route
from vmkiln.api.resource_types import ALL_ROUTES
from vmkiln.store.audit_table import AuditQuery
from vmkiln.store.rows import AuditRow

CHANGING = [route for route in ALL_ROUTES if route.method in AUDITED]
READING = [route for route in ALL_ROUTES if route.method not in AUDITED]
MAY_CAUSE_MORE = {"Deployments_CreateOrUpdate", "ResourceGroups_Delete", "Tags_"}
NAMES = {
    "subscriptionId": SUBSCRIPTION,
    "resourceGroupName": "rg1",
    "tenant": "common",
    "roleDefinitionId": str(uuid.UUID(int=2)),
    "roleAssignmentName": str(uuid.UUID(int=3)),
    "resourceProviderNamespace": "Microsoft.Compute",
}
SINCE = datetime(2020, 1, 1, tzinfo=UTC)


def path_of(route: Route) -> str:
    return "/".join(NAMES.get(part[1:-1], "thing") if part.startswith("{") else part for part in route.path.split("/"))


def everything(subscription_id: str = SUBSCRIPTION) -> AuditQuery:
    return AuditQuery(subscription_id, SINCE, datetime.now(UTC) + timedelta(hours=1))


def acts(service: InProcess, subscription_id: str | None = None) -> list[AuditRow]:
    """What the audit has, the newest first: of one subscription, or of all and none."""
    assert service.service.audit.flush(10)
    chosen = (SUBSCRIPTION, OTHER_SUBSCRIPTION, "") if subscription_id is None else (subscription_id,)
    return [row for name in chosen for row in service.service.store.audit.find(everything(name), limit=1000)]


def ask(service: InProcess, route: Route, token: str | None) -> httpx.Response:
    content, headers = None, {}
    body = a_template() if route.body is not Body.NONE else None
    if route.body is Body.FORM:
        content, body = b"grant_type=client_credentials&client_id=nobody&client_secret=x&scope=https://x/.default", None
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
    version = (route.api_versions or ("2024-11-01",))[-1]
    options: Any = {"token": token, "api_version": version, "content": content, "headers": headers}
    return service.request(route.method, path_of(route), body, **options)


def check_one_act(service: InProcess, route: Route, response: httpx.Response, token: str) -> AuditRow:
    """Exactly one, with who, what, where, when and how it ended."""
    match = route_table().match(route.method, tuple(path_of(route).strip("/").split("/")))
    wanted = (action_name(route), resource_id_of(match))
    rows = acts(service)
    (row,) = [row for row in rows if (row.operation, row.resource_id) == wanted]
    if not any(route.operation.startswith(name) for name in MAY_CAUSE_MORE):
        assert len(rows) == 1, [(row.operation, row.resource_id) for row in rows]
    assert (row.caller, row.caller_id) == (token, token)
    assert row.code == response.status_code
    assert row.status == ("Failed" if row.code >= 400 else "Accepted" if row.code == 202 else "Succeeded")
    assert bool(row.error_code) == (row.code >= 400)
    assert row.method == route.method
    assert row.request_id == response.headers["x-ms-request-id"]
    assert row.correlation_id == response.headers["x-ms-correlation-request-id"]
    assert row.source == "127.0.0.1"
    assert datetime.now(UTC) - row.moment < timedelta(minutes=1)
    return row


@pytest.mark.parametrize("route", CHANGING, ids=lambda route: route.operation)
def test_every_changing_request_leaves_one_act(service: InProcess, route: Route) -> None:
    add_group(service)
    is_login = route.permission is Permission.NONE
    row = check_one_act(service, route, ask(service, route, "root"), "" if is_login else "root")
    assert row.is_refused == is_login, "only a login that nobody can make is refused"


@pytest.mark.parametrize("route", [route for route in CHANGING if route.permission is not Permission.NONE],
                         ids=lambda route: route.operation)  # fmt: skip
def test_every_refused_request_leaves_one_act(service: InProcess, route: Route) -> None:
    response = ask(service, route, None)
    assert response.status_code == 401
    assert check_one_act(service, route, response, "").is_refused
    service.service.store.audit.forget(older_than=datetime.now(UTC) + timedelta(days=1), most=0, most_refused=0)
    if route.permission is not Permission.ANY:
        response = ask(service, route, "stranger")
        assert response.status_code == 403
        assert check_one_act(service, route, response, "stranger").is_refused


def test_what_only_reads_leaves_none(service: InProcess) -> None:
    add_group(service)
    for route in READING:
        for token in ("root", "stranger", None):
            ask(service, route, token)
    assert acts(service) == []


def test_operations_are_named_as_azure_names_them() -> None:
    names = {action_name(route) for route in ALL_ROUTES}
    assert {
        "Microsoft.VirtualMachineImages/imageTemplates/write",
        "Microsoft.VirtualMachineImages/imageTemplates/delete",
        "Microsoft.VirtualMachineImages/imageTemplates/read",
        "Microsoft.VirtualMachineImages/imageTemplates/run/action",
        "Microsoft.VirtualMachineImages/imageTemplates/cancel/action",
        "Microsoft.VirtualMachineImages/imageTemplates/triggers/write",
        "Microsoft.Storage/storageAccounts/listKeys/action",
        "Microsoft.Storage/storageAccounts/regenerateKey/action",
        "Microsoft.Authorization/roleAssignments/write",
        "Microsoft.Authorization/roleAssignments/delete",
        "Microsoft.Resources/deployments/write",
        "Microsoft.Resources/deployments/validate/action",
        "Microsoft.Resources/deployments/whatIf/action",
        "Microsoft.Resources/subscriptions/resourceGroups/write",
        "Microsoft.Compute/galleries/images/versions/delete",
        "Microsoft.Network/virtualNetworks/subnets/write",
        "Microsoft.Insights/eventtypes/management/values/read",
    } <= names


# what is told of an act


def test_a_role_that_is_given_says_to_whom(service: InProcess) -> None:
    add_group(service)
    role = f"{GROUP}/providers/Microsoft.Authorization/roleAssignments/{uuid.UUID(int=7)}"
    reader = "/x/acdd72a7-3385-48ef-bd42-f606fba81ae7"
    body = {"properties": {"roleDefinitionId": reader, "principalId": "anna"}}
    assert service.put(role, body, api_version="2022-04-01").status_code == 201
    (row,) = acts(service)
    assert dict(row.detail) == {"role": "Reader", "principalId": "anna"}
    assert row.resource_id == role


def test_a_run_and_its_act_belong_together(living: InProcess) -> None:
    add_group(living)
    provisioned(living, TEMPLATE, a_template("wait"))
    correlation_id = str(uuid.uuid4())
    asked = {"x-ms-correlation-request-id": correlation_id, "x-ms-client-request-id": str(uuid.uuid4())}
    assert living.request("POST", f"{TEMPLATE}/run", headers=asked).status_code == 202
    assert living.request("POST", f"{TEMPLATE}/cancel").status_code == 204
    cancel, run, _ = acts(living)
    (kept,) = living.service.store.runs.of_template(TEMPLATE)
    assert run.detail["runId"] == cancel.detail["runId"] == kept.run_id
    assert run.correlation_id == kept.facts["correlation_id"] == correlation_id
    assert (run.status, cancel.status) == ("Accepted", "Succeeded")
    assert run.detail["clientRequestId"] == asked["x-ms-client-request-id"]


def test_what_is_logged_of_a_run_names_the_request(living: InProcess, caplog: pytest.LogCaptureFixture) -> None:
    add_group(living)
    provisioned(living, TEMPLATE, a_template("fail"))
    answer = living.request("POST", f"{TEMPLATE}/run")
    ended_run(living, TEMPLATE)

    def told() -> set[str]:
        failed = (record for record in list(caplog.records) if "of web failed" in record.getMessage())
        return {getattr(record, "correlation_id", "") for record in failed}

    assert wait_for(told) == {answer.headers["x-ms-correlation-request-id"]}


def test_a_login_is_recorded_and_its_secret_is_not(service: InProcess) -> None:
    principal, secret = service.service.store.principals.create("builder")
    for given in (secret, "wrong-secret"):
        form = (
            f"grant_type=client_credentials&client_id={principal.app_id}&client_secret={given}&scope=https://x/.default"
        )
        service.request("POST", "/common/oauth2/v2.0/token", content=form.encode(), token=None,
                        headers={"Content-Type": "application/x-www-form-urlencoded"})  # fmt: skip
    wrong, right = acts(service, "")
    assert (right.caller, right.caller_id, right.status) == ("builder", principal.object_id, "Succeeded")
    assert (wrong.caller, wrong.is_refused, wrong.error_code) == ("", True, "invalid_client")
    assert wrong.detail["appId"] == right.detail["appId"] == principal.app_id
    assert right.operation == "Microsoft.Directory/signIns/action"
    assert "secret" not in repr((wrong, right)).replace("invalid_client", "")
    assert secret not in repr((wrong, right))


def test_a_deployment_and_what_it_makes_have_one_correlation(service: InProcess) -> None:
    add_group(service)
    identity = {
        "type": "Microsoft.ManagedIdentity/userAssignedIdentities",
        "apiVersion": "2023-01-31",
        "name": "one",
        "location": "westus2",
    }
    template = {"$schema": "x", "contentVersion": "1.0.0.0", "resources": [identity]}
    path = f"{GROUP}/providers/Microsoft.Resources/deployments/d1"
    made = service.put(path, {"properties": {"mode": "Incremental", "template": template}}, api_version="2024-11-01")
    assert made.status_code == 201
    rows = acts(service)
    assert {row.operation for row in rows} == {
        "Microsoft.Resources/deployments/write",
        "Microsoft.ManagedIdentity/userAssignedIdentities/write",
    }
    assert len({(row.correlation_id, row.caller, row.source) for row in rows}) == 1
    told = service.get(path, api_version="2024-11-01").json()["properties"]["correlationId"]
    assert told == rows[0].correlation_id


def test_what_goes_with_a_group_goes_by_the_hand_of_who_deleted_it(service: InProcess) -> None:
    add_group(service)
    path = f"{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/one"
    service.put(path, {"location": "westus2"}, api_version="2023-01-31")
    service.request("DELETE", GROUP, api_version="2024-11-01")
    rows = [row for row in acts(service) if row.operation.endswith("/delete")]
    assert {row.resource_id for row in rows} == {GROUP, path}
    assert len({(row.correlation_id, row.caller) for row in rows}) == 1
    assert rows[0].caller == "owner"


def test_a_run_that_the_service_starts_is_its_own_act(living: InProcess) -> None:
    add_group(living)
    auto = a_template("true", autoRun={"state": "Enabled"})
    provisioned(living, TEMPLATE, auto)
    wait_for(lambda: living.service.store.runs.of_template(TEMPLATE))
    (row,) = wait_for(lambda: [row for row in acts(living) if row.operation.endswith("/run/action")])
    (run,) = living.service.store.runs.of_template(TEMPLATE)
    assert (row.caller, row.caller_kind) == ("vmkiln", "service")
    assert dict(row.detail) == {"runId": run.run_id, "reason": "autoRun"}
    assert row.correlation_id == run.facts["correlation_id"]
    assert row.resource_id == TEMPLATE


def test_control_characters_of_a_caller_reach_no_log(service: InProcess, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "vmkiln.audit")
    odd = f"{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/a%c2%85%e2%80%aeb"
    service.request("DELETE", odd, api_version="2023-01-31")
    lines = [record.getMessage() for record in caplog.records if record.name == "vmkiln.audit"]
    assert len(lines) == 1
    assert lines[0].isprintable()
