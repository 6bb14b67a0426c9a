"""A process that is killed right after a change has recorded who made it: both are in one transaction."""

import contextlib
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from api.test_storage_accounts import add_account, serve_blobs
from api.test_triggers import KIND, TRIGGER, publish, template
from in_process import (
    GROUP,
    SUBSCRIPTION,
    TEMPLATE,
    InProcess,
    TestAccess,
    a_template,
    ended_run,
    provisioned,
    wait_for,
)
from postgresql import cluster
from service_fixtures import living_service

from vmkiln.audit import audit_log
from vmkiln.audit.audit_log import AuditLog
from vmkiln.errors import DatabaseAway
from vmkiln.fleet import image_builder
from vmkiln.store.audit_table import AuditQuery
from vmkiln.store.rows import AuditRow

IDENTITY = f"{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/one"
ROLE = f"{GROUP}/providers/Microsoft.Authorization/roleAssignments/{uuid.UUID(int=7)}"
READER = {"properties": {"roleDefinitionId": "/x/acdd72a7-3385-48ef-bd42-f606fba81ae7", "principalId": "anna"}}
AUTO_RUN = {"autoRun": {"state": "Enabled"}}


@pytest.fixture(params=["SQLite", "PostgreSQL"])
def killed(
    request: pytest.FixtureRequest, tmp_path: Path, access: TestAccess, monkeypatch: pytest.MonkeyPatch
) -> Iterator[InProcess]:
    """A service of which nothing is left behind a change: neither the line in the log, nor the act's end."""
    with contextlib.ExitStack() as stack:
        place: Path | str = tmp_path / "vmkiln.sqlite"
        if request.param == "PostgreSQL":
            place = stack.enter_context(cluster()).new_database()
        found = stack.enter_context(living_service(tmp_path, access, place))
        for module in (audit_log, image_builder):
            monkeypatch.setattr(module, "log_line", lambda _row: None)
        monkeypatch.setattr(AuditLog, "record", lambda _self, _row: None)
        yield found


def acts(service: InProcess) -> list[AuditRow]:
    """What was done in the subscription, the newest first."""
    store = service.service.store
    since = store.now().replace(year=2020)
    return store.audit.find(AuditQuery(SUBSCRIPTION, since, store.now()), limit=100)


def test_every_change_by_request_takes_its_act_along(killed: InProcess) -> None:
    steps = (
        ("PUT", GROUP, {"location": "westus2"}, "2024-11-01", "resourceGroups/write"),
        ("PUT", IDENTITY, {"location": "westus2"}, "2023-01-31", "userAssignedIdentities/write"),
        ("PATCH", IDENTITY, {"tags": {"a": "b"}}, "2023-01-31", "userAssignedIdentities/write"),
        ("PUT", ROLE, READER, "2022-04-01", "roleAssignments/write"),
        ("DELETE", ROLE, None, "2022-04-01", "roleAssignments/delete"),
        ("DELETE", IDENTITY, None, "2023-01-31", "userAssignedIdentities/delete"),
        ("PUT", TEMPLATE, a_template("wait"), "2024-02-01", "imageTemplates/write"),
        ("POST", f"{TEMPLATE}/run", None, "2024-02-01", "imageTemplates/run/action"),
        ("POST", f"{TEMPLATE}/cancel", None, "2024-02-01", "imageTemplates/cancel/action"),
        ("DELETE", TEMPLATE, None, "2024-02-01", "imageTemplates/delete"),
    )
    for method, path, body, version, operation in steps:
        if operation == "imageTemplates/delete":
            ended_run(killed, TEMPLATE)
        answer = killed.request(method, path, body, api_version=version)
        assert answer.status_code < 300, answer.text
        if operation == "imageTemplates/write":
            wait_for(lambda: killed.get(TEMPLATE).json()["properties"]["provisioningState"] == "Succeeded")
        row = acts(killed)[0]
        assert row.operation.endswith(operation)
        assert (row.caller, row.status, row.method) == ("owner", "Started", method)
        assert row.correlation_id == answer.headers["x-ms-correlation-request-id"]


def test_a_key_is_given_to_nobody_before_it_is_recorded(killed: InProcess) -> None:
    account = add_account(killed)
    serve_blobs(killed)
    assert killed.request("POST", f"{account}/listKeys").status_code == 200
    assert killed.request("POST", f"{account}/regenerateKey", {"keyName": "key1"}).status_code == 200
    assert [(row.operation.rpartition("storageAccounts/")[2], row.status) for row in acts(killed)] == [
        ("regenerateKey/action", "Started"),
        ("listKeys/action", "Started"),
    ]


def test_without_the_audit_no_key_is_given(killed: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    account = add_account(killed)
    serve_blobs(killed)

    def away(_act: object) -> None:
        raise DatabaseAway("the database is away")

    monkeypatch.setattr(killed.service.store.audit, "begin", away)
    answer = killed.request("POST", f"{account}/listKeys")
    assert answer.status_code == 503
    assert "keys" not in answer.json()


def test_a_run_by_itself_and_its_act_are_one_change(killed: InProcess) -> None:
    killed.put(GROUP, {"location": "westus2"}, api_version="2024-11-01")
    provisioned(killed, TEMPLATE, a_template("wait", **AUTO_RUN))
    (run,) = wait_for(lambda: killed.service.store.runs.of_template(TEMPLATE))
    (row,) = [row for row in acts(killed) if row.operation.endswith("/run/action")]
    assert (row.caller, dict(row.detail)) == ("vmkiln", {"runId": run.run_id, "reason": "autoRun"})


def test_a_trigger_that_is_too_late_leaves_no_act(killed: InProcess) -> None:
    """One act for each run: the second look finds the first one's run going on."""
    killed.put(GROUP, {"location": "westus2"}, api_version="2024-11-01")
    publish(killed, "1.0.0")
    provisioned(killed, TEMPLATE, template("wait"))
    assert killed.put(TRIGGER, KIND).status_code == 201
    for version in ("2.0.0", "3.0.0"):
        publish(killed, version)
    wait_for(lambda: killed.service.store.runs.of_template(TEMPLATE))
    runs = {run.run_id for run in killed.service.store.runs.of_template(TEMPLATE)}
    told = [row.detail["runId"] for row in acts(killed) if row.operation.endswith("/run/action")]
    assert sorted(told) == sorted(runs)


def test_an_act_that_is_over_stands_in_the_place_of_its_beginning(service: InProcess) -> None:
    answer = service.put(GROUP, {"location": "westus2"}, api_version="2024-11-01")
    assert service.service.audit.flush(10)
    (row,) = acts(service)
    assert (row.status, row.code) == ("Succeeded", answer.status_code)


def test_a_change_that_is_undone_takes_its_act_back(service: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was begun and did not happen; that it failed is recorded."""
    service.put(GROUP, {"location": "westus2"}, api_version="2024-11-01")

    def fails(_self: object, connection: object, row: object) -> None:
        raise DatabaseAway("in the middle of a change")

    monkeypatch.setattr(type(service.service.store.resources), "_insert", fails)
    assert service.put(IDENTITY, {"location": "westus2"}, api_version="2023-01-31").status_code == 503
    assert service.service.audit.flush(10)
    assert [(row.status, row.code) for row in acts(service)] == [("Failed", 503), ("Succeeded", 201)]
