"""The service as a whole: one for each state directory, ended without waiting for what can be asked for again."""

import asyncio
import json
import os
import ssl
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from in_process import InProcess, TestAccess, a_template, an_issuer
from stub_build import stub_build

from vmkiln.api.identity.tls import ensure_tls
from vmkiln.api.protocol import application as protocol
from vmkiln.azure_names import IMAGE_TEMPLATE
from vmkiln.errors import InputError
from vmkiln.portal.rendering import ENVIRONMENT, compile_pages
from vmkiln.service import only_service, remember_endpoint, running
from vmkiln.settings import Settings
from vmkiln.store.database import opened, utc_now
from vmkiln.store.rows import ResourceRow


def test_a_state_directory_has_one_service(tmp_path: Path) -> None:
    settings = Settings(tmp_path)
    with only_service(settings), pytest.raises(InputError, match="another"), only_service(settings):
        pass
    with only_service(settings):
        pass


def test_what_the_last_service_left_undone_is_ended(tmp_path: Path) -> None:
    settings = Settings(tmp_path)
    place = "/subscriptions/s/resourceGroups/g"
    deployment = f"{place}/providers/Microsoft.Resources/deployments/d"
    with opened(settings.database) as store:
        common = {"subscription_id": "s", "resource_group": "g"}
        undone = {"provisioningState": "Running"}
        kind = "Microsoft.Resources/deployments"
        store.resources.put(ResourceRow(id=deployment, type=kind, name="d", properties=undone, **common))
        going = {"provisioningState": "Deleting"}
        group = ResourceRow(id=place, type="Microsoft.Resources/resourceGroups", name="g", properties=going, **common)
        store.resources.put(group)
        operation = store.operations.begin(
            "delete resource group", subscription_id="s", location="local", resource_id=place
        )
    with opened(settings.database) as store:

        async def look() -> int:
            access = TestAccess({"owner": [("Owner", "/")]})
            access.keep(store)
            build = stub_build(settings, store)
            async with running(settings, store, access, issuer=an_issuer(), build=build) as application:
                transport = httpx.ASGITransport(application)
                async with httpx.AsyncClient(transport=transport, base_url="https://localhost") as client:
                    return (await client.get("/healthz")).status_code

        assert asyncio.run(look()) == 200
        ended = store.resources.get(deployment)
        assert ended is not None
        assert ended.properties["error"]["code"] == "DeploymentInterrupted"
        assert store.operations.get(operation.operation_id).status == "Failed"  # type: ignore[union-attr]
        kept = store.resources.get(place)
        assert kept is not None
        assert kept.properties["provisioningState"] == "Succeeded"


@pytest.mark.parametrize(("listen", "begins"), [("127.0.0.1:0", "https://localhost:"), ("[::1]:0", "https://[::1]:")])
def test_serve_takes_a_certificate_an_address_and_a_state_directory(listen: str, begins: str, tmp_path: Path) -> None:
    """Needs an ordinary user: `vmkiln serve` refuses to run as root."""
    own = ensure_tls(tmp_path / "own", ["localhost", "127.0.0.1", "::1"], now=utc_now())
    home = tmp_path / "state"
    command = [sys.executable, "-m", "vmkiln", "serve", "--listen", listen, "--data", str(home)]
    command += ["--tls-cert", str(own.certificate), "--tls-key", str(own.key)]
    environment = {**os.environ, "VMKILN_HOME": str(tmp_path / "other")}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            said = next(line for line in iter(process.stderr.readline, "") if line.startswith("serving "))
            url = said.split()[1]
            trusted = ssl.create_default_context(cafile=str(own.authority))
            with httpx.Client(verify=trusted, base_url=url) as client:
                assert client.get("/healthz").status_code == 200
                assert client.get("/subscriptions?api-version=2022-12-01").status_code == 401
        finally:
            process.terminate()
            more = process.stderr.read()
            process.wait(30)
    assert url.startswith(begins)
    assert "the service has ended" in more
    assert "server process" not in more, "uvicorn's words beside our own"
    assert str(home) in said
    assert not (tmp_path / "other").exists()
    assert not (home / "service/tls").exists()


def test_a_quiet_service_tells_who_did_what_and_requests_when_asked(tmp_path: Path) -> None:
    """Needs an ordinary user: `vmkiln serve` refuses to run as root."""
    own = ensure_tls(tmp_path / "own", ["localhost", "127.0.0.1"], now=utc_now())
    command = [sys.executable, "-m", "vmkiln", "serve", "--listen", "127.0.0.1:0", "--data", str(tmp_path / "state")]
    command += ["--tls-cert", str(own.certificate), "--tls-key", str(own.key), "--log-format", "json", "--access-log"]
    environment = {**os.environ, "VMKILN_LOG_LEVEL": "warning"}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            said = []
            while not (said and said[-1].startswith("serving ")):
                said.append(next(process.stderr))
            url = said[-1].split()[1]
            trusted = ssl.create_default_context(cafile=str(own.authority))
            with httpx.Client(verify=trusted, base_url=url) as client:
                group = "/subscriptions/s/resourceGroups/rg1"
                assert client.delete(f"{group}?api-version=2024-11-01&sig=secret").status_code == 401
        finally:
            process.terminate()
            said += process.stderr.readlines()
            process.wait(30)
    assert "secret" not in "".join(said)
    lines = [json.loads(line) for line in said if line.startswith("{")]
    acts = [line for line in lines if line["logger"] == "vmkiln.audit"]
    assert [(act["operation"].rpartition(".")[2], act["caller_kind"], act["status"]) for act in acts] == [
        ("Directory/servicePrincipals/write", "service", "Succeeded"),
        ("Authorization/roleAssignments/write", "service", "Succeeded"),
        ("Resources/subscriptions/resourceGroups/delete", "nobody", "Failed"),
    ]
    (request,) = [line for line in lines if line["logger"] == "vmkiln.requests"]
    assert (request["method"], request["path"], request["status"]) == ("DELETE", group, 401)
    assert request["request_id"] == acts[-1]["request_id"]
    assert acts[-1]["source"] == "127.0.0.1"


def test_the_portals_pages_are_compiled_before_anybody_looks(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "vmkiln", "serve", "--listen", "127.0.0.1:0", "--data", str(tmp_path / "state")]
    environment = {**os.environ, "VMKILN_LOG_LEVEL": "debug"}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            told = next((line for line in process.stderr if "of the portal are compiled" in line), "")
        finally:
            process.terminate()
            process.communicate(timeout=30)
    assert f"{len(ENVIRONMENT.list_templates())} pages of the portal are compiled" in told


def test_a_compiled_page_is_not_compiled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    assert compile_pages() > 30
    monkeypatch.setattr(ENVIRONMENT, "compile", lambda *_, **__: pytest.fail("it is compiled again"))
    assert compile_pages() > 30


def test_the_endpoint_is_remembered_for_this_machines_commands(tmp_path: Path) -> None:
    path = remember_endpoint(Settings(tmp_path), "https://localhost:1")
    assert path.read_text() == "https://localhost:1\n"
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(("state", "kind"), [("Creating", "provision"), ("Deleting", "delete")])
async def test_a_template_that_waits_without_an_operation_gets_one(
    tmp_path: Path, access: TestAccess, state: str, kind: str
) -> None:
    settings = Settings(tmp_path)
    group = "/subscriptions/s/resourceGroups/g"
    template = f"{group}/providers/{IMAGE_TEMPLATE}/web"
    common = {"subscription_id": "s", "resource_group": "g", "location": "westus2"}
    properties = {**a_template()["properties"], "provisioningState": state}
    with opened(settings.database) as store:
        row = ResourceRow(
            id=template, type=IMAGE_TEMPLATE, name="web", properties=properties, identity={"type": "None"}, **common
        )
        store.resources.put(replace(row, state={"api_version": "2024-02-01"}))
        store.resources.put(replace(row, id=f"{template}2", name="web2", properties={"provisioningState": "Succeeded"}))
        async with running(settings, store, access, issuer=an_issuer(), build=stub_build(settings, store)):
            async with asyncio.timeout(20):
                while store.operations.open_ones():  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
        found = store.resources.get(template)
        assert (found is None) if kind == "delete" else (found and found.properties["provisioningState"] != "Creating")
        assert store.resources.get(f"{template}2") is not None


def test_a_request_that_gets_no_thread_is_answered_503(service: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the form that clients know, with the time after which they try again; whether it lives is told as before."""

    async def none(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(protocol, "run_in_threadpool", none)
    response = service.get("/subscriptions", token="owner")
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "ServerBusy"
    assert response.headers["retry-after"]
    for path in ("/livez", "/readyz"):
        assert service.get(path, token=None, api_version=None).status_code == 200
