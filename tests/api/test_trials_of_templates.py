"""A template that its trial does not come through is a 400 that says so, and the next request is served."""

import ast
import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from in_process import BASE, SUBSCRIPTION, TestAccess, an_issuer
from stub_build import stub_build

from vmkiln.service import running
from vmkiln.settings import Settings
from vmkiln.store.database import opened
from vmkiln.trial import trials

GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg1"
VALIDATE = f"{GROUP}/providers/Microsoft.Resources/deployments/d/validate"
UNBOUNDED = """
from vmkiln.arm_template.budget import Budget
from vmkiln.trial import trial_program
Budget.work = Budget.make = lambda _self, _amount: None
trial_program.main()
"""
LARGE = "length(map(range(0,9999),lambda('x',padLeft('a',1048576))))"


def deployment(value: str) -> dict[str, Any]:
    outputs = {"o": {"type": "int", "value": f"[{value}]"}}
    return {"properties": {"mode": "Incremental", "template": {"resources": [], "outputs": outputs}}}


@contextlib.asynccontextmanager
async def served(folder: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a service that tries templates, with a resource group."""
    settings = Settings(folder)
    with opened(settings.database) as store:
        access, build = TestAccess({"owner": [("Owner", "/")]}), stub_build(settings, store)
        async with running(settings, store, access, issuer=an_issuer(), build=build) as application:
            transport, version = httpx.ASGITransport(application), {"api-version": "2024-11-01"}
            headers = {"Authorization": "Bearer owner"}
            async with httpx.AsyncClient(transport=transport, base_url=BASE, headers=headers, params=version) as client:
                await client.put(GROUP, json={"location": "westus2"})
                yield client


async def ended(folder: Path, content: dict[str, Any]) -> dict[str, Any]:
    """What became of a deployment."""
    path = VALIDATE.removesuffix("/validate")
    async with served(folder) as client, asyncio.timeout(120):
        response = await client.put(path, json=content)
        assert response.status_code in {200, 201}, response.text
        found: dict[str, Any] = {"provisioningState": "Running"}
        while found["provisioningState"] not in {"Failed", "Succeeded"}:
            await asyncio.sleep(0.05)
            found = (await client.get(path)).json()["properties"]
        return found


@pytest.fixture
def _unbounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials without a budget."""
    monkeypatch.setattr(trials.Trials.__init__, "__defaults__", ([sys.executable, "-I", "-c", UNBOUNDED],))


@pytest.mark.usefixtures("_unbounded")
def test_a_template_that_is_killed_is_refused_and_the_next_is_served(tmp_path: Path) -> None:
    async def asked() -> list[httpx.Response]:
        async with served(tmp_path) as client:
            return [await client.post(VALIDATE, json=deployment(value)) for value in ("add(1,2)", LARGE, "add(1,2)")]

    first, killed, last = asyncio.run(asked())
    assert (first.status_code, last.status_code) == (200, 200), first.text
    error = killed.json()["error"]
    assert (killed.status_code, error["code"]) == (400, "InvalidTemplate")
    assert error["details"][0]["target"] == "properties.template"
    assert "to evaluate" in error["message"], "for its memory, or on a busy machine for its time"


@pytest.mark.usefixtures("_unbounded")
def test_what_is_dear_only_when_a_resource_is_there_is_killed_too(tmp_path: Path) -> None:
    kind, version = "Microsoft.ManagedIdentity/userAssignedIdentities", "2023-01-31"
    count = f"if(empty(reference(resourceId('{kind}','one')).principalId),1,9999)"
    content = deployment(LARGE.replace("9999", count))
    content["properties"]["template"]["resources"] = [
        {"type": kind, "apiVersion": version, "name": "one", "location": "westus2"}
    ]
    found = asyncio.run(ended(tmp_path, content))
    assert found["provisioningState"] == "Failed"
    assert "to evaluate" in str(found["error"]), "not for the budget, which is the service's"


@pytest.mark.parametrize("scope", ["inner", "outer"])
def test_a_nested_deployment_is_tried_where_it_stands_and_carried_out(tmp_path: Path, scope: str) -> None:
    kind, version = "Microsoft.ManagedIdentity/userAssignedIdentities", "2023-01-31"
    state = f"reference(resourceId('{kind}','one')).principalId"
    inner = {
        "$schema": "x",
        "contentVersion": "1.0.0.0",
        "resources": [
            {"type": kind, "apiVersion": version, "name": "one", "location": "westus2"},
            {
                "type": kind,
                "apiVersion": version,
                "name": "two",
                "location": "westus2",
                "tags": {"of": f"[{state}]"} if scope == "inner" else {},
            },
        ],
        "outputs": {"found": {"type": "string", "value": f"[{state}]" if scope == "inner" else "plain"}},
    }
    content = deployment("length(reference('below').outputs.found.value)")
    content["properties"]["template"]["resources"] = [
        {
            "type": "Microsoft.Resources/deployments",
            "apiVersion": "2022-09-01",
            "name": "below",
            "properties": {
                "mode": "Incremental",
                "expressionEvaluationOptions": {"scope": scope},
                "template": inner,
            },
        }
    ]
    asked: list[str] = []
    before = trials.Trials.check_later

    def counted(self: trials.Trials, *arguments: Any) -> None:
        asked.append(str(arguments[3]))
        before(self, *arguments)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(trials.Trials, "check_later", counted)
        found = asyncio.run(ended(tmp_path, content))
    assert found["provisioningState"] == "Succeeded", found
    assert found["outputs"]["o"]["value"] == (36 if scope == "inner" else 5)
    assert {"what": "body", "inside": (0,), "index": 1} in [ast.literal_eval(text) for text in asked]
