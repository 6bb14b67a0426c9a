"""Leave to enter a failed VM that is held: who has it, who has not, and that either is on record."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
from in_process import GROUP, SUBSCRIPTION, TEMPLATE, InProcess, TestAccess, code_of, run_with_blobs

from vmkiln.api.shells.meetings import MOST_OF_A_CALLER, Side
from vmkiln.audit.act_names import RUN_SHELL
from vmkiln.errors import ArmError, DatabaseAway
from vmkiln.host.host_id import host_id
from vmkiln.rights.built_in_roles import CONTRIBUTOR, OWNER, READER, actions_of
from vmkiln.shells import order
from vmkiln.shells.order import Meeting
from vmkiln.shells.sealed_key import VisitorKey
from vmkiln.store.audit_table import AuditQuery
from vmkiln.store.database import utc_now
from vmkiln.store.rows import HostRow

RUN_ID = str(uuid.UUID(int=7))
RUN = f"{TEMPLATE}/providers/Vmkiln.Builds/runs/{RUN_ID}"
SHELL = f"{RUN}/shell"


@pytest.fixture
def people(access: TestAccess) -> dict[str, str]:
    """Somebody of each role in the group; by name their role."""
    roles = {"ann": OWNER, "ben": CONTRIBUTOR, "eve": READER, "ron": "Runner"}
    access.roles |= {name: [(role, GROUP)] for name, role in roles.items()}
    access.roles["far"] = [(OWNER, f"{GROUP}2")]
    access.roles["all"] = [(OWNER, "/")]
    return roles


@pytest.fixture
def held(living: InProcess) -> InProcess:
    """The run's failed VM lies on a host's disk for an hour."""
    run_with_blobs(living, RUN_ID)
    store = living.service.store
    store.hosts.register(HostRow("i", "its-id", "kiln-3", "x86_64", "", "", 8, 1024, 1024), lease_seconds=60)
    until = (utc_now() + timedelta(hours=1)).isoformat(timespec="seconds")
    lease: Any = {"host_id": "its-id", "until": until}
    store.runs.add_facts(RUN_ID, lease=lease)
    return living


NEAR, FAR = Meeting("https://localhost:8443", "pem"), Meeting("https://kiln.example:8443", "pem", is_public=True)


def visitors_body() -> dict[str, str]:
    return {"publicKey": VisitorKey().public}


def acts(service: InProcess) -> list[tuple[str, str, int, str]]:
    query = AuditQuery(SUBSCRIPTION, utc_now() - timedelta(hours=1), utc_now() + timedelta(hours=1))
    found = [act for act in service.service.store.audit.find(query, limit=50) if act.operation == RUN_SHELL]
    return [(act.caller, str(act.status), act.code, act.resource_id) for act in found]


@pytest.mark.parametrize(
    ("name", "status"), [("all", 200), ("ann", 200), ("ben", 200), ("eve", 403), ("ron", 403), ("far", 403)]
)
def test_who_may_enter_is_told_where_and_who_may_not_is_refused(
    held: InProcess, people: dict[str, str], name: str, status: int
) -> None:
    answer = held.request("POST", SHELL, token=name)
    assert answer.status_code == status, answer.text
    if status == 200:
        told = answer.json()["host"]
        assert told == ("kiln-3" if name == "all" else ""), "which hosts there are is not for everybody"
        assert answer.json()["heldUntil"] > utc_now().isoformat()
    else:
        assert code_of(answer) == "AuthorizationFailed"
        assert f"'{RUN_SHELL}'" in answer.text, "which action is missing"
    wanted = "Succeeded" if status == 200 else "Failed"
    assert held.service.audit.flush(10)
    assert acts(held) == [(name, wanted, status, RUN)], "who, and which run"


def test_nobody_has_leave_before_it_is_on_record(held: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has no row of its own to change would be told in the background alone, which a killed service loses."""
    begun: list[str] = []

    def away(act: Any) -> None:
        begun.append(act.row.operation)
        raise DatabaseAway("the database is away")

    monkeypatch.setattr(held.service.store.audit, "begin", away)
    answer = held.request("POST", SHELL)
    assert (answer.status_code, begun) == (503, [RUN_SHELL])
    assert "heldUntil" not in answer.json()


def test_a_role_to_run_is_none_to_enter_and_the_other_way_round(held: InProcess, people: dict[str, str]) -> None:
    assert held.request("POST", f"{RUN}/retry", token="ron").status_code == 202
    assert list(actions_of("Virtual Machine Administrator Login")) == [
        "Microsoft.VirtualMachineImages/imageTemplates/*/read",
        "Microsoft.VirtualMachineImages/imageTemplates/*/runs/shell/action",
    ]
    assert list(actions_of(READER)) == ["*/read"]
    assert list(actions_of(CONTRIBUTOR)) == ["*"]


def test_a_run_of_which_nothing_is_held_is_not_entered(held: InProcess) -> None:
    store = held.service.store
    store.runs.add_facts(RUN_ID, lease=None)
    answer = held.request("POST", SHELL)
    assert (answer.status_code, code_of(answer)) == (409, "RunNotHeld")
    over: Any = {"host_id": "its-id", "until": (utc_now() - timedelta(seconds=1)).isoformat()}
    store.runs.add_facts(RUN_ID, lease=over)
    assert held.request("POST", SHELL).status_code == 409
    assert held.request("POST", SHELL.replace(RUN_ID, str(uuid.UUID(int=8)))).status_code == 404


def test_a_lock_against_changes_keeps_everybody_out(held: InProcess) -> None:
    lock = f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Authorization/locks/keep?api-version=2016-09-01"
    assert held.put(lock, {"properties": {"level": "ReadOnly"}}).status_code == 201
    answer = held.request("POST", SHELL)
    assert (answer.status_code, code_of(answer)) == (409, "ScopeLocked")


def test_the_holding_host_alone_is_asked_to_come_and_told_where(held: InProcess) -> None:
    shells, store = held.service.shells, held.service.store
    shells.near, shells.far = NEAR, FAR
    body = visitors_body()
    answer = held.request("POST", SHELL, body)
    assert answer.status_code == 200, answer.text
    shell = answer.json()["shell"]
    shell_id = shell["path"].rpartition("/")[2]
    assert shell["path"] == order.path_of(shell_id)
    assert store.shells.take("another", most=9) == []
    [(taken, sealed)] = store.shells.take("its-id", most=9)
    assert shell["token"] not in sealed, "what lies in the database lets nobody in"
    found = order.opened(taken, sealed, store.seal)
    assert (found.run_id, found.meeting, found.public_key) == (RUN_ID, FAR, body["publicKey"])
    assert shells.came(shell_id, found.token)[1] is Side.HOST
    assert shells.came(shell_id, shell["token"])[1] is Side.VISITOR
    assert found.token != shell["token"]


def test_a_host_on_the_services_machine_meets_its_visitors_there(held: InProcess) -> None:
    held.service.shells.near = NEAR
    store, own = held.service.store, host_id(held.service.settings)
    lease: Any = {"host_id": own, "until": (utc_now() + timedelta(hours=1)).isoformat()}
    store.runs.add_facts(RUN_ID, lease=lease)
    if own not in {row.host_id for row in store.hosts.live()}:
        store.hosts.register(HostRow("j", own, "here", "x86_64", "", "", 8, 1024, 1024), lease_seconds=60)
    assert held.request("POST", SHELL, visitors_body()).status_code == 200
    [(taken, sealed)] = store.shells.take(own, most=9)
    assert order.opened(taken, sealed, store.seal).meeting == NEAR


def test_nobody_waits_where_the_host_cannot_come(held: InProcess) -> None:
    shells, store = held.service.shells, held.service.store
    assert code_of(held.request("POST", SHELL, visitors_body())) == "NoShells"
    shells.near = NEAR
    answer = held.request("POST", SHELL, visitors_body())
    assert (answer.status_code, code_of(answer)) == (409, "ServiceNotReached")
    shells.far = FAR
    store.hosts.leave("i")
    answer = held.request("POST", SHELL, visitors_body())
    assert (answer.status_code, code_of(answer)) == (409, "HostNotAtWork")
    assert len(shells) == 0
    assert store.shells.take("its-id", most=9) == []


@pytest.mark.parametrize("key", [None, 7, "", "x", "A" * 1000, ["A"]])
def test_a_visitor_without_a_key_is_not_waited_for(held: InProcess, key: Any) -> None:
    held.service.shells.near = held.service.shells.far = NEAR
    answer = held.request("POST", SHELL, {"publicKey": key})
    assert (answer.status_code, answer.json()["error"]["target"]) == (400, "publicKey")
    assert len(held.service.shells) == 0


def test_who_may_not_enter_is_not_waited_for_nor_any_more(held: InProcess, people: dict[str, str]) -> None:
    shells = held.service.shells
    shells.near = shells.far = NEAR
    for name in ("eve", "ron", "far"):
        assert held.request("POST", SHELL, visitors_body(), token=name).status_code == 403
    assert len(shells) == 0
    shell = held.request("POST", SHELL, visitors_body(), token="ann").json()["shell"]
    found, _ = shells.came(shell["path"].rpartition("/")[2], shell["token"])
    assert found.may_still()
    held.access.roles["ann"] = [(READER, GROUP)]
    assert not found.may_still()
    for _ in range(MOST_OF_A_CALLER - 1):
        shells.ask(RUN_ID, caller="ben", seconds=1, may_still=lambda: True)
    assert held.request("POST", SHELL, visitors_body(), token="ben").status_code == 200
    answer = held.request("POST", SHELL, visitors_body(), token="ben")
    assert (answer.status_code, code_of(answer)) == (429, "TooManyShells")


def test_a_host_that_cannot_be_asked_leaves_nobody_waiting(held: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    held.service.shells.near = held.service.shells.far = NEAR

    def away(*_arguments: object, **_named: object) -> None:
        raise ArmError(503, "ServerBusy", "the database is away")

    monkeypatch.setattr(held.service.store.shells, "ask", away)
    assert held.request("POST", SHELL, visitors_body()).status_code == 503
    assert len(held.service.shells) == 0
