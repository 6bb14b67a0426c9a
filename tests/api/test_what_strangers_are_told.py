"""Callers on other machines are told what fails, and never where: no path, address or program of the service's host."""

import logging

import pytest
from in_process import BASE, SUBSCRIPTION, TEMPLATE, InProcess, a_template, add_group, wait_for

from vmkiln.api.identity.caller import LOCAL_OPERATOR
from vmkiln.errors import (
    CleanUpFailed,
    CommandFailed,
    DatabaseAway,
    InputError,
    SharedStorageFailed,
    StorageFailed,
    StorageFull,
    VmkilnError,
)
from vmkiln.provisioning import submitting
from vmkiln.store.resource_table import ResourceTable

SECRET = "postgresql://vmkiln@db-7.internal:5432/vmkiln"
GROUPS = f"/subscriptions/{SUBSCRIPTION}/resourceGroups"
ERRORS = (
    DatabaseAway(f"the database {SECRET} cannot be used: connection refused"),
    StorageFull(f"{SECRET} is full", hint=f"free some of {SECRET}"),
    StorageFailed(f"{SECRET} cannot be written"),
    SharedStorageFailed(f"{SECRET} refused", hint=SECRET),
    CommandFailed(["/usr/bin/qemu-img", SECRET], exit_status=1, output=SECRET, reason="failed"),
    CleanUpFailed(f"{SECRET} is left"),
    VmkilnError(SECRET),
    RuntimeError(SECRET),
)


def failing(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fails(*_: object, **_named: object) -> None:
        raise error

    monkeypatch.setattr(ResourceTable, "get", fails)
    monkeypatch.setattr(ResourceTable, "list", fails)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("token", ["owner", "reader"])
def test_a_failure_of_the_service_is_told_by_its_request(
    service: InProcess, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception, token: str
) -> None:
    failing(monkeypatch, error)
    answer = service.get(GROUPS, api_version="2024-11-01", token=token)
    assert answer.status_code in {500, 503}
    assert "internal:5432" not in answer.text
    assert "qemu-img" not in answer.text
    request_id = answer.headers["x-ms-request-id"]
    assert request_id in answer.json()["error"]["message"]
    told = [record for record in caplog.records if record.levelno == logging.ERROR]
    whole = "".join(f"{record.getMessage()} {record.exc_info}" for record in told)
    assert request_id in whole
    assert "internal:5432" in whole


def test_the_operator_of_the_machine_is_told_the_whole(service: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, ERRORS[0])
    query = {"api-version": "2024-11-01"}
    answer = service.service.dispatch("GET", GROUPS, caller=LOCAL_OPERATOR, query=query, base_url=BASE)
    assert "db-7.internal" in answer.body["error"]["message"]


def test_no_answer_names_the_state_directory(service: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    home = service.service.settings.home
    failing(
        monkeypatch, InputError(f"{home}/catalogue.toml, line 3 is not TOML", hint=f"correct {home}/catalogue.toml")
    )
    answer = service.get(GROUPS, api_version="2024-11-01")
    assert answer.status_code == 400
    assert str(home) not in answer.text
    assert "catalogue.toml, line 3" in answer.json()["error"]["message"]


def test_a_template_whose_provisioning_fails_does_not_say_where(
    living: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> str:
        raise ERRORS[3]

    monkeypatch.setattr(submitting, "exact_version", fails)
    add_group(living)
    assert living.put(TEMPLATE, a_template("true")).status_code == 201
    told = wait_for(lambda: living.get(TEMPLATE).json()["properties"].get("provisioningError"))
    assert told["message"] == f"{SharedStorageFailed.outside}; the service's log has more."
