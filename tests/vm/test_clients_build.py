"""Real clients against `vmkiln serve`, which builds for real: az follows the log while Packer works, the SDKs in short.

One service answers all of them; each client's template is built under whatever the machine has, TCG at least.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from in_process import wait_for
from real_clients import CLIENTS, SUBSCRIPTION, Az, az_of, javascript, login_of, python_sdk

from vmkiln.settings import Settings

pytestmark = pytest.mark.vm
GROUP = "az-builds"
BUILD_SECONDS = 600


@pytest.fixture
def az(prepared: Settings, world: None, tmp_path: Path) -> Iterator[Az]:
    """az, and `vmkiln serve` on a free port; both gone afterwards."""
    azurite = CLIENTS / "node_modules/.bin"
    path = f"{azurite}:{os.environ['PATH']}"
    environment = {**os.environ, "VMKILN_HOME": str(prepared.home), "PATH": path}
    endpoint = prepared.home / "service/endpoint"
    endpoint.unlink(missing_ok=True)
    command = [sys.executable, "-m", "vmkiln", "serve", "--listen", "127.0.0.1:0"]
    with (tmp_path / "serve.log").open("w") as log, subprocess.Popen(command, env=environment, stderr=log) as process:
        try:
            wait_for(lambda: process.poll() is not None or endpoint.exists(), seconds=60)
            assert process.poll() is None, (tmp_path / "serve.log").read_text()
            found = az_of(prepared.home, tmp_path / "azure")
            found("group", "create", "-n", GROUP, "-l", "westus2")
            yield found
            found("group", "delete", "-n", GROUP, "--yes")
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def ended(az: Az) -> dict[str, Any] | None:
    status = az("image", "builder", "show", "-g", GROUP, "-n", "web")["lastRunStatus"]
    return None if not status or str(status["endTime"]).startswith("0001") else dict(status)


def a_template(name: str) -> dict[str, Any]:
    image = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/providers/Microsoft.Compute/images/{name}"
    source = {"type": "PlatformImage", "publisher": "Debian", "offer": "debian-12", "sku": "12", "version": "latest"}
    return {
        "location": "westus2",
        "identity": {"type": "None"},
        "properties": {
            "source": source,
            "customize": [{"type": "Shell", "name": "say", "inline": ["echo a line of the log"]}],
            "distribute": [{"type": "ManagedImage", "runOutputName": "out", "imageId": image, "location": "westus2"}],
        },
    }


def test_az_builds_an_image_and_follows_the_log(az: Az, tmp_path: Path) -> None:
    template = a_template("web")
    image = template["properties"]["distribute"][0]["imageId"]
    file = tmp_path / "web.json"
    file.write_text(json.dumps(template))
    made = az("image", "builder", "create", "-g", GROUP, "-n", "web", "--image-template", str(file))
    staging = made["exactStagingResourceGroup"].rpartition("/")[2]
    az("image", "builder", "run", "-g", GROUP, "-n", "web", "--no-wait")
    groups = wait_for(lambda: az("container", "list", "-g", staging), seconds=BUILD_SECONDS)
    follow = az.start("container", "logs", "-g", staging, "-n", groups[0]["name"], "--follow")
    attached = az.start("container", "attach", "-g", staging, "-n", groups[0]["name"])
    rules = az("network", "nsg", "show", "-g", staging, "-n", "nsg")["securityRules"]
    assert "far guest to the Internet" in [rule["name"] for rule in rules]
    machines = az("resource", "list", "-g", staging, "--resource-type", "Microsoft.Compute/virtualMachines")
    assert [item["name"] for item in machines] == ["build-vm"]
    status = wait_for(lambda: ended(az), seconds=BUILD_SECONDS)
    assert (status["runState"], status["message"]) == ("Succeeded", "")
    followed, _ = follow.communicate(timeout=120)
    assert "a line of the log" in followed
    seen, _ = attached.communicate(timeout=120)
    assert "a line of the log" in seen
    account = az("storage", "account", "list", "-g", staging)[0]["name"]
    found = az("storage", "account", "show-connection-string", "-g", staging, "-n", account)["connectionString"]
    connection = ("-c", "packerlogs", "--connection-string", found)
    name = az("storage", "blob", "list", *connection)[0]["name"]
    az("storage", "blob", "download", "-n", name, "-f", str(tmp_path / "customization.log"), *connection)
    downloaded = (tmp_path / "customization.log").read_text()
    assert "a line of the log" in downloaded
    assert downloaded.endswith("Done exporting Packer logs to Azure Storage.\n")
    outputs = az("image", "builder", "show-runs", "-g", GROUP, "-n", "web")
    assert [item["artifactId"] for item in outputs] == [image]
    assert [item["name"] for item in az("image", "list", "-g", GROUP)] == ["web"]
    left = az("resource", "list", "-g", staging)
    assert [item["type"] for item in left] == ["Microsoft.Storage/storageAccounts"]


def test_the_python_sdk_builds_an_image(az: Az, prepared: Settings) -> None:
    url = (prepared.home / "service/endpoint").read_text().strip()
    templates = python_sdk(login_of(prepared.home, url)).virtual_machine_image_templates
    made = templates.begin_create_or_update(GROUP, "python", a_template("python")).result()
    assert made.properties.provisioning_state == "Succeeded"
    templates.begin_run(GROUP, "python").result()
    assert templates.get(GROUP, "python").properties.last_run_status.run_state == "Succeeded"
    assert [item["name"] for item in az("image", "list", "-g", GROUP)] == ["python"]


def test_the_javascript_sdk_builds_an_image(az: Az, prepared: Settings) -> None:
    url = (prepared.home / "service/endpoint").read_text().strip()
    done = javascript(login_of(prepared.home, url), group=GROUP, seconds=BUILD_SECONDS)
    assert (done.returncode, done.stdout.strip()) == (0, "done"), done.stderr
    assert [item["name"] for item in az("image", "list", "-g", GROUP)] == ["js"]
