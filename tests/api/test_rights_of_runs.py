"""Rights hold when a run begins: whoever lost a role publishes and reads nothing any more, whatever began the run."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from in_process import (
    GROUP,
    IMAGE,
    SUBSCRIPTION,
    TEMPLATE,
    InProcess,
    a_template,
    add_group,
    code_of,
    ended_run,
    provisioned,
    wait_for,
)
from page_visitor import Visitor
from postgresql import Cluster, cluster
from service_fixtures import living_service, some_access
from test_triggers import KIND, TRIGGER, publish, template

from vmkiln.fleet.attempt import HostDuties, attempt_run
from vmkiln.fleet.image_builder import queued_run
from vmkiln.portal.application import with_portal
from vmkiln.provisioning.stored_template import check_rights
from vmkiln.run_failures import RightsLost
from vmkiln.store.audit_table import AuditQuery
from vmkiln.store.rows import AuditRow

IDENTITY = f"{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/builder"


@pytest.fixture
def server() -> Iterator[Cluster]:
    with cluster() as found:
        yield found


def lose_roles(service: InProcess, who: str = "owner") -> None:
    for role in service.service.store.principals.roles_of(who):
        service.service.store.principals.unassign(role.assignment_id)


def give_role(service: InProcess, who: str = "owner", role: str = "Owner", scope: str = GROUP) -> None:
    service.service.store.principals.assign(who, role, scope)


def acts_on(service: InProcess, resource_id: str) -> list[AuditRow]:
    assert service.service.audit.flush(10)
    now = service.service.now()
    query = AuditQuery(SUBSCRIPTION, now - timedelta(hours=1), now + timedelta(hours=1), resource_id=resource_id)
    return service.service.store.audit.find(query, limit=50)


@pytest.fixture
def ready(living: InProcess) -> InProcess:
    add_group(living)
    return living


def test_a_run_by_hand_is_refused_with_what_is_missing(ready: InProcess) -> None:
    provisioned(ready, TEMPLATE, a_template())
    lose_roles(ready)
    answer = ready.request("POST", f"{TEMPLATE}/run", token="contributor")
    assert (answer.status_code, code_of(answer)) == (403, "LinkedAuthorizationFailed")
    assert f"'Microsoft.Compute/images/write' on {IMAGE} (properties.distribute[0].imageId)" in answer.text
    assert "ask an Owner of these scopes" in answer.text
    assert ready.service.store.runs.of_template(TEMPLATE) == []
    give_role(ready)
    assert ready.request("POST", f"{TEMPLATE}/run", token="contributor").status_code == 202
    assert ended_run(ready, TEMPLATE)["runState"] == "Succeeded"


def test_a_role_that_is_lost_while_the_run_waits_ends_it_before_it_begins(ready: InProcess) -> None:
    other = TEMPLATE.replace("/web", "/first")
    target = {"type": "ManagedImage", "runOutputName": "out", "imageId": f"{IMAGE}1", "location": "westus2"}
    provisioned(ready, other, a_template("wait", distribute=[target]), token="root")
    provisioned(ready, TEMPLATE, a_template())
    assert ready.request("POST", f"{other}/run", token="root").status_code == 202
    assert ready.request("POST", f"{TEMPLATE}/run").status_code == 202
    lose_roles(ready)
    ready.request("POST", f"{other}/cancel")
    status = ended_run(ready, TEMPLATE)
    assert status["runState"] == "Failed"
    assert "the owner owner (owner) of the image template web may not do" in status["message"]
    (run,) = ready.service.store.runs.of_template(TEMPLATE)
    assert run.error_code == "LinkedAuthorizationFailed"
    assert ready.get(f"{TEMPLATE}/runOutputs").json()["value"] == []


@pytest.mark.parametrize("attempt", [1, 2], ids=["first", "after its host died"])
def test_every_attempt_of_a_run_looks_at_the_rights(service: InProcess, tmp_path: Path, attempt: int) -> None:
    """A restart, and another host that takes a run over, begin it by this."""
    add_group(service)
    service.put(TEMPLATE, a_template())
    store = service.service.store
    row = store.resources.get(TEMPLATE)
    assert row is not None
    run = queued_run(row, run_id=f"run-{attempt}", reason="request")
    run.facts["attempt"] = attempt
    assert store.runs.queue(run)
    began: list[str] = []

    async def build(request: Any, _tell: object) -> None:
        began.append(request.run_id)

    lose_roles(service)
    asyncio.run(
        attempt_run(
            service.service.settings, store, HostDuties(build), run, incarnation="none", is_stopping=lambda: True
        )
    )
    assert began == []
    with pytest.raises(RightsLost):
        check_rights(store, row)


def test_a_template_that_runs_by_itself_does_not_without_rights(ready: InProcess) -> None:
    lose_roles(ready)
    provisioned(ready, TEMPLATE, a_template(autoRun={"state": "Enabled"}))
    status = ended_run(ready, TEMPLATE)
    assert (status["runState"], "owner" in status["message"]) == ("Failed", True)


def trigger_loses_its_rights(live: InProcess) -> None:
    add_group(live)
    publish(live, "1.0.0")
    provisioned(live, TEMPLATE, template())
    assert live.put(TRIGGER, KIND).json()["properties"]["status"]["code"] == "Healthy"
    lose_roles(live)
    publish(live, "1.0.1")
    status = ended_run(live, TEMPLATE)
    assert status["runState"] == "Failed"
    assert "ask an Owner of these scopes" in status["message"]
    publish(live, "1.0.2")
    told = live.get(TRIGGER).json()["properties"]["status"]
    assert told["code"] == "Suspended"
    assert "Automatic builds are suspended, because the owner owner (owner)" in told["message"]
    assert "ask an Owner of these scopes" in told["message"]
    refused = [act for act in acts_on(live, TEMPLATE) if act.error_code == "LinkedAuthorizationFailed"]
    assert [(act.caller, act.status, act.is_refused) for act in refused] == [("vmkiln", "Failed", True)]
    assert len(live.service.store.runs.of_template(TEMPLATE)) == 1, "it is told once, and not each time"


def test_a_trigger_without_rights_is_suspended_and_says_whom_to_ask(living: InProcess) -> None:
    trigger_loses_its_rights(living)
    page = Visitor(with_portal(living.app)).get(f"/portal{TEMPLATE}")
    assert "Automatic builds are suspended" in page.text
    give_role(living)
    wait_for(lambda: len(living.service.store.runs.of_template(TEMPLATE)) == 2)
    assert ended_run(living, TEMPLATE)["runState"] == "Succeeded", "what came meanwhile is built now"
    assert living.get(TRIGGER).json()["properties"]["status"]["code"] == "Healthy"


def test_a_trigger_on_postgresql_is_suspended_too(server: Cluster, tmp_path: Path) -> None:
    with living_service(tmp_path, some_access(), server.new_database()) as service:
        trigger_loses_its_rights(service)


def test_who_changes_a_template_takes_it_over_with_rights_of_their_own(ready: InProcess) -> None:
    provisioned(ready, TEMPLATE, a_template())
    lose_roles(ready)
    assert ready.request("PATCH", TEMPLATE, {"tags": {"team": "b"}}, token="contributor").status_code == 202
    (taken,) = [act for act in acts_on(ready, TEMPLATE) if "takenOverFrom" in act.detail]
    assert (taken.caller, dict(taken.detail)["takenOverFrom"]) == ("contributor", "owner (owner)")
    assert ready.request("POST", f"{TEMPLATE}/run").status_code == 202
    assert ended_run(ready, TEMPLATE)["runState"] == "Succeeded"
    assert ready.put(TEMPLATE, {**a_template(), "tags": {}}, token="root").status_code == 200
    lose_roles(ready, "contributor")
    assert ready.request("POST", f"{TEMPLATE}/run").status_code == 202
    assert ended_run(ready, TEMPLATE)["runState"] == "Succeeded"


def test_who_may_not_use_what_a_template_names_does_not_take_it_over(ready: InProcess) -> None:
    provisioned(ready, TEMPLATE, a_template())
    ready.access.roles["writer"] = [("Contributor", TEMPLATE)]
    answer = ready.request("PATCH", TEMPLATE, {"tags": {}}, token="writer")
    assert (answer.status_code, code_of(answer)) == (403, "LinkedAuthorizationFailed")
    row = ready.service.store.resources.get(TEMPLATE)
    assert row is not None
    assert row.state["owner"]["objectId"] == "owner"


def test_an_old_template_belongs_to_who_runs_it_first_by_hand(ready: InProcess) -> None:
    provisioned(ready, TEMPLATE, a_template())

    def forgotten(row: Any) -> Any:
        state = {name: value for name, value in row.state.items() if name != "owner"}
        return type(row)(**{**vars(row), "state": state, "created_by": "somebody"})

    ready.service.store.resources.change(TEMPLATE, forgotten)
    ready.access.roles["writer"] = [("Contributor", TEMPLATE)]
    assert code_of(ready.request("POST", f"{TEMPLATE}/run", token="writer")) == "LinkedAuthorizationFailed"
    assert ready.request("POST", f"{TEMPLATE}/run", token="contributor").status_code == 202
    assert ended_run(ready, TEMPLATE)["runState"] == "Succeeded"
    (taken,) = [act for act in acts_on(ready, TEMPLATE) if "takenOverFrom" in act.detail]
    assert (taken.caller, dict(taken.detail)["takenOverFrom"]) == ("contributor", "nobody known")


def test_an_identity_needs_the_roles_that_a_run_uses(ready: InProcess) -> None:
    made = ready.put(IDENTITY, {"location": "westus2"}, api_version="2023-01-31").json()
    body = {**a_template(), "identity": {"type": "UserAssigned", "userAssignedIdentities": {IDENTITY: {}}}}
    provisioned(ready, TEMPLATE, body)
    answer = ready.request("POST", f"{TEMPLATE}/run")
    assert (answer.status_code, code_of(answer)) == (403, "LinkedAuthorizationFailed")
    assert "the identity builder" in answer.text
    give_role(ready, made["properties"]["principalId"], "Contributor")
    lose_roles(ready)
    assert ready.request("POST", f"{TEMPLATE}/run").status_code == 202
    assert ended_run(ready, TEMPLATE)["runState"] == "Succeeded"
