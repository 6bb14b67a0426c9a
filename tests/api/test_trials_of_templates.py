"""A template that its trial does not come through is a 400 that says so, and the next request is served."""

import asyncio
import sys
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


def test_a_template_that_is_killed_is_refused_and_the_next_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trials.Trials.__init__, "__defaults__", ([sys.executable, "-I", "-c", UNBOUNDED],))
    settings = Settings(tmp_path)

    async def asked() -> list[httpx.Response]:
        with opened(settings.database) as store:
            access, build = TestAccess({"owner": [("Owner", "/")]}), stub_build(settings, store)
            async with running(settings, store, access, issuer=an_issuer(), build=build) as application:
                headers = {"Authorization": "Bearer owner"}
                transport = httpx.ASGITransport(application)
                async with httpx.AsyncClient(transport=transport, base_url=BASE, headers=headers) as client:
                    version = {"api-version": "2024-11-01"}
                    await client.put(GROUP, json={"location": "westus2"}, params=version)
                    return [
                        await client.post(VALIDATE, json=deployment(value), params=version)
                        for value in ("add(1,2)", LARGE, "add(1,2)")
                    ]

    first, killed, last = asyncio.run(asked())
    assert (first.status_code, last.status_code) == (200, 200), first.text
    error = killed.json()["error"]
    assert (killed.status_code, error["code"]) == (400, "InvalidTemplate")
    assert error["details"][0]["target"] == "properties.template"
    assert "256 MiB" in error["message"]
