"""Secrets of templates: kept sealed, told to nobody, and built with all the same."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from in_process import GROUP, TEMPLATE, InProcess, a_template, add_group, code_of, ended_run, wait_for

from vmkiln.errors import KeyUnavailable
from vmkiln.provisioning.kept_texts import KEPT
from vmkiln.provisioning.stored_template import SEALED, body_of, request_of

DEPLOYMENT = f"{GROUP}/providers/Microsoft.Resources/deployments/d1"
PASSWORD = "hunter22-Correct-Horse"
MEMBER = "swordfish-0815"
SIGNATURE = "c2lnbmF0dXJlLW9mLWFjY2Vzcw"
SAS = f"https://scripts.example/a.sh?sv=2024-11-04&sp=r&sig={SIGNATURE}"
DERIVED = {
    "base64": base64.b64encode(PASSWORD.encode()).decode(),
    "part": PASSWORD[3:15],
    "capitals": PASSWORD.upper(),
    "turned": PASSWORD.replace("-", "_"),
}
FORBIDDEN = (PASSWORD, MEMBER, SIGNATURE, *DERIVED.values())
COMMANDS = (
    "[concat('echo pw is ', parameters('pw'))]",
    "[format('echo {0} | base64 -d', variables('coded'))]",
    "[concat('echo ', substring(parameters('pw'), 3, 12))]",
    "[concat('echo ', toUpper(parameters('pw')))]",
    "[concat('echo ', replace(parameters('pw'), '-', '_'))]",
    "[concat('login ', parameters('login').word)]",
    "echo '*** plain ***'",
)


@pytest.fixture
def live(living: InProcess) -> InProcess:
    add_group(living)
    return living


def deployment(*commands: str, name: str = "web", **more: Any) -> dict[str, Any]:
    resource = {
        "type": "Microsoft.VirtualMachineImages/imageTemplates",
        "apiVersion": "2024-02-01",
        "name": name,
        **a_template(*(commands or COMMANDS)),
    }
    resource["tags"] = {"about": "[parameters('pw')]"}
    template = {
        "$schema": "x",
        "contentVersion": "1.0.0.0",
        "parameters": {
            "pw": {"type": "securestring"},
            "login": {"type": "secureObject"},
            "told": {"type": "string", "defaultValue": "[concat('x', parameters('pw'))]"},
        },
        "variables": {"coded": "[base64(parameters('pw'))]"},
        "resources": [resource],
        "outputs": {
            "plain": {"type": "string", "value": "[parameters('pw')]"},
            "coded": {"type": "string", "value": "[variables('coded')]"},
            "within": {"type": "object", "value": {"a": ["[parameters('login').word]"]}},
        },
        **more,
    }
    given = {"pw": {"value": PASSWORD}, "login": {"value": {"word": MEMBER}}}
    return {"properties": {"mode": "Incremental", "parameters": given, "template": template}}


def deployed(service: InProcess, content: dict[str, Any]) -> dict[str, Any]:
    response = service.put(DEPLOYMENT, content)
    assert response.status_code in {200, 201}, response.text
    url = response.headers["Azure-AsyncOperation"]
    wait_for(lambda: service.get(url, api_version=None).json()["status"] not in {"Running", "Accepted"})
    return dict(service.get(DEPLOYMENT).json()["properties"])


def told(text: str) -> list[str]:
    return [secret for secret in FORBIDDEN if secret in text]


def on_disk(home: Path) -> list[str]:
    """The secrets that are in the bytes of the database, its write-ahead log, the engine's tables and the logs."""
    found = []
    for path in home.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            found += [f"{path.name}: {secret}" for secret in FORBIDDEN if secret.encode() in content]
    return found


def test_secrets_of_a_deployment_are_told_to_nobody_and_built_with(live: InProcess, tmp_path: Path) -> None:
    assert len(told(json.dumps(deployment()))) == 3, "the probe sees them in the request"
    answers = [live.request("POST", f"{DEPLOYMENT}/{action}", deployment()).text for action in ("validate", "whatIf")]
    assert "***" in answers[1]
    found = deployed(live, deployment())
    assert found["provisioningState"] == "Succeeded", json.dumps(found.get("error"))
    assert found["outputs"]["plain"]["value"] == "***"
    answers += [json.dumps(found), live.request("POST", f"{DEPLOYMENT}/whatIf", deployment()).text]
    for path in (TEMPLATE, TEMPLATE.rpartition("/")[0], DEPLOYMENT, f"{DEPLOYMENT}/operations", GROUP + "/resources"):
        answers += [live.get(path, token=token).text for token in ("owner", "reader")]
    wait_for(lambda: live.get(TEMPLATE).json()["properties"]["provisioningState"] == "Succeeded")
    assert live.request("POST", f"{TEMPLATE}/run").status_code == 202
    ended_run(live, TEMPLATE)
    answers += [live.get(TEMPLATE).text, live.get(f"{TEMPLATE}/providers/Vmkiln.Builds/runs").text]
    assert [told(answer) for answer in answers] == [[]] * len(answers)
    inline = live.get(TEMPLATE).json()["properties"]["customize"][0]["inline"]
    assert inline[0] == f"echo pw is {KEPT}"
    assert inline[-1] == "echo '*** plain ***'"
    assert on_disk(tmp_path) == []
    store = live.service.store
    row = store.resources.get(TEMPLATE)
    assert row is not None
    built = body_of(store, row)["properties"]["customize"][0]["inline"]
    assert built[0] == f"echo pw is {PASSWORD}"
    assert told(json.dumps(built)) == [secret for secret in FORBIDDEN if secret != SIGNATURE]
    request = request_of(live.service.settings, store, row, run_id="r")
    assert request.mask(f"it said {PASSWORD.lower()}, {DERIVED['part']}") == "it said ***, ***"
    assert told(json.dumps(request.resolved)) == []
    assert told(repr(request.mask)) == []


def test_what_is_wrong_with_a_deployment_is_told_without_its_secrets(live: InProcess) -> None:
    content = deployment(outputs={"n": {"type": "int", "value": "[int(parameters('pw'))]"}})
    assert deployed(live, content)["provisioningState"] == "Failed"
    assert told(live.get(DEPLOYMENT).text) == []
    wrong = deployment()
    wrong["properties"]["template"]["resources"][0]["properties"]["vmProfile"] = {"vmSize": "[parameters('pw')]"}
    wrong["properties"]["template"]["resources"][0]["properties"]["source"]["type"] = "[parameters('pw')]"
    for action in ("validate", "whatIf"):
        answer = live.request("POST", f"{DEPLOYMENT}/{action}", wrong)
        assert "InvalidTemplate" in answer.text
        assert told(answer.text) == []
    assert live.put(DEPLOYMENT, wrong).status_code in {200, 201}
    assert told(live.get(DEPLOYMENT).text + live.get(f"{DEPLOYMENT}/operations").text) == []


def test_a_nested_deployment_keeps_what_it_was_given_secret(live: InProcess, tmp_path: Path) -> None:
    whole = deployment("[concat('echo ', toUpper(parameters('given')))]")
    inner_resources = whole["properties"]["template"]["resources"]
    inner: dict[str, Any] = {
        "$schema": "x",
        "contentVersion": "1.0.0.0",
        "parameters": {"given": {"type": "string"}},
        "resources": inner_resources,
        "outputs": {"o": {"type": "securestring", "value": "[reverse(parameters('given'))]"}},
    }
    inner_resources[0]["tags"] = {}
    nested = {
        "type": "Microsoft.Resources/deployments",
        "apiVersion": "2022-09-01",
        "name": "inner",
        "properties": {
            "mode": "Incremental",
            "expressionEvaluationOptions": {"scope": "inner"},
            "parameters": {"given": {"value": "[parameters('pw')]"}},
            "template": inner,
        },
    }
    outputs = {"o": {"type": "string", "value": "[listOutputsWithSecureValues('inner', '2022-09-01').o]"}}
    inner["outputs"]["o"]["value"] = "[concat('s3cr3t-', uniqueString(parameters('given')))]"
    found = deployed(live, deployment(resources=[nested], outputs=outputs))
    assert found["provisioningState"] == "Succeeded", json.dumps(found.get("error"))
    assert found["outputs"]["o"]["value"] == "***"
    assert told(live.get(TEMPLATE).text + json.dumps(found)) == []
    assert on_disk(tmp_path) == []


def test_the_signature_of_a_scripts_address_is_shown_to_nobody(service: InProcess, tmp_path: Path) -> None:
    add_group(service)
    key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
    step = {"type": "Shell", "name": "s", "scriptUri": SAS}
    inline = {"type": "Shell", "name": "i", "inline": [f"az storage x --connection-string 'AccountKey={key}'"]}
    answer = service.put(TEMPLATE, a_template(customize=[step, inline]))
    assert answer.status_code == 201, answer.text
    for text in (answer.text, service.get(TEMPLATE, token="reader").text):
        assert SIGNATURE not in text
        assert key not in text
        assert f"&sig={KEPT}" in text
    assert on_disk(tmp_path) == []
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and key.encode() in path.read_bytes()]
    row = service.service.store.resources.get(TEMPLATE)
    assert row is not None
    first, second = body_of(service.service.store, row)["properties"]["customize"]
    assert (first["scriptUri"], key in second["inline"][0]) == (SAS, True)


def read_and_ready(service: InProcess) -> dict[str, Any]:
    deployed(service, deployment())
    wait_for(lambda: service.get(TEMPLATE).json()["properties"]["provisioningState"] == "Succeeded")
    return dict(service.get(TEMPLATE).json())


def kept_inline(service: InProcess) -> list[str]:
    row = service.service.store.resources.get(TEMPLATE)
    assert row is not None
    return list(body_of(service.service.store, row)["properties"]["customize"][0]["inline"])


def test_what_was_read_can_be_sent_back_without_losing_a_secret(live: InProcess) -> None:
    read = read_and_ready(live)
    before = kept_inline(live)
    read["tags"] = {"new": "tag"}
    assert live.put(TEMPLATE, read).status_code == 200
    distribute = [*read["properties"]["distribute"]]
    distribute.append({**distribute[0], "runOutputName": "two", "imageId": distribute[0]["imageId"] + "2"})
    answer = live.request("PATCH", TEMPLATE, {"properties": {"distribute": distribute}, "tags": {"a": "b"}})
    assert answer.status_code == 202, answer.text
    assert kept_inline(live) == before
    assert PASSWORD in before[0]
    assert told(live.get(TEMPLATE).text) == []
    assert deployed(live, deployment())["provisioningState"] == "Failed", "distribute is another one by now"


def test_the_same_deployment_once_more_changes_nothing(live: InProcess) -> None:
    read_and_ready(live)
    before = kept_inline(live)
    assert deployed(live, deployment())["provisioningState"] == "Succeeded"
    assert kept_inline(live) == before


@pytest.mark.parametrize("token", ["owner", "contributor"])
def test_a_mark_that_means_no_kept_secret_is_refused(service: InProcess, token: str) -> None:
    add_group(service)
    step = {"type": "Shell", "name": "s", "scriptUri": f"https://x.example/a?sig={KEPT}"}
    body = a_template(customize=[step], managedResourceTags={"a": KEPT})
    answer = service.put(TEMPLATE, body, token=token)
    assert (answer.status_code, code_of(answer)) == (400, "ValidationFailed"), answer.text
    assert "properties.customize[0].scriptUri" in answer.text
    assert "properties.managedResourceTags.a" in answer.text
    assert service.get(TEMPLATE).status_code == 404
    assert service.put(TEMPLATE, a_template("echo '*** fine ***'")).status_code == 201


def test_a_secret_cannot_be_moved_into_another_text(live: InProcess) -> None:
    read = read_and_ready(live)
    target = {**read["properties"]["distribute"][0], "artifactTags": {"x": f"to {KEPT}"}}
    answer = live.request("PATCH", TEMPLATE, {"properties": {"distribute": [target]}})
    assert answer.status_code == 400, answer.text
    assert "distribute[0].artifactTags.x" in answer.text


def test_a_sealed_template_cannot_be_opened_as_anothers_or_without_the_key(live: InProcess) -> None:
    read_and_ready(live)
    store = live.service.store
    row = store.resources.get(TEMPLATE)
    assert row is not None
    sealed = row.state[SEALED]
    assert store.seal.opened(sealed, place=row.key)["texts"]
    with pytest.raises(KeyUnavailable, match="another's"):
        store.seal.opened(sealed, place=f"{row.key}2")
    store.seal.ring.file.unlink()
    answer = live.request("POST", f"{TEMPLATE}/run")
    assert answer.status_code == 500
    assert str(store.seal.ring.folder) not in live.request("POST", f"{TEMPLATE}/run", token="contributor").text
