"""The shapes of what the service answers: a template's life, its runs, and refusals."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from in_process import TEMPLATE, InProcess, a_template, add_group, ended_run, provisioned
from snapshots.conftest import timeless
from syrupy.assertion import SnapshotAssertion

Told = Callable[[httpx.Response], str]


@pytest.fixture
def told(tmp_path: Path) -> Told:
    """An answer as text: status, the headers that have a meaning, body."""

    def tell(response: httpx.Response) -> str:
        names = ("location", "azure-asyncoperation", "retry-after", "www-authenticate")
        headers = {name: response.headers[name] for name in names if name in response.headers}
        body: Any = response.json() if response.content else None
        return timeless(f"{response.status_code} {json.dumps(headers)}\n{json.dumps(body, indent=2)}", tmp_path)

    return tell


def test_a_templates_life_is_answered_as_it_was(living: InProcess, told: Told, snapshot: SnapshotAssertion) -> None:
    add_group(living)
    body = a_template()
    assert told(living.put(TEMPLATE, body)) == snapshot(name="created")
    provisioned(living, f"{TEMPLATE}-2", body)
    assert told(living.get(f"{TEMPLATE}-2")) == snapshot(name="provisioned")
    started = living.request("POST", f"{TEMPLATE}-2/run")
    assert told(started) == snapshot(name="run")
    ended_run(living, f"{TEMPLATE}-2")
    assert told(living.get(started.headers["azure-asyncoperation"])) == snapshot(name="operation")
    assert told(living.get(f"{TEMPLATE}-2/runOutputs")) == snapshot(name="run outputs")
    assert told(living.get(f"{TEMPLATE}-2/providers/Vmkiln.Builds/runs")) == snapshot(name="past runs")
    assert told(living.request("DELETE", f"{TEMPLATE}-2")) == snapshot(name="deleted")


def test_a_failed_run_is_told_as_it_was(living: InProcess, told: Told, snapshot: SnapshotAssertion) -> None:
    add_group(living)
    provisioned(living, TEMPLATE, a_template("fail"))
    started = living.request("POST", f"{TEMPLATE}/run")
    ended_run(living, TEMPLATE)
    assert told(living.get(started.headers["azure-asyncoperation"])) == snapshot


REFUSED = {
    "not there": ("GET", TEMPLATE, {}),
    "not logged in": ("GET", TEMPLATE, {"token": None}),
    "a stranger": ("GET", TEMPLATE, {"token": "stranger"}),
    "no api-version": ("GET", TEMPLATE, {"api_version": None}),
    "unknown api-version": ("GET", TEMPLATE, {"api_version": "1999-01-01"}),
    "no such path": ("GET", "/no/such/path", {}),
    "no JSON": ("PUT", TEMPLATE, {"content": b"{"}),
    "no source": ("PUT", TEMPLATE, {"body": {"location": "westus2", "properties": {"distribute": []}}}),
    "a reader who runs": ("POST", f"{TEMPLATE}/run", {"token": "reader"}),
}


@pytest.mark.parametrize("asked", REFUSED.values(), ids=REFUSED)
def test_a_refusal_is_answered_as_it_was(
    asked: tuple[str, str, dict[str, Any]], service: InProcess, told: Told, snapshot: SnapshotAssertion
) -> None:
    method, path, options = asked
    add_group(service)
    assert told(service.request(method, path, **options)) == snapshot
