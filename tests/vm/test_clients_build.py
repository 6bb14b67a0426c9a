"""Real clients against `vmkiln serve`, which builds for real: az follows the log while Packer works, the SDKs in short.

One service answers all of them; what it builds is built under whatever the machine has, TCG at least. The SDK for Python
cancels a build while it customizes, and leaves nothing: the world around all of them is compared at the end (`az`). The
one for JavaScript builds for real in the long tier; `tests/clients/test_javascript_sdk.py` says the same words every day
to a service whose builds are stood in for.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError
from conftest import unchanged_world
from in_process import wait_for
from real_clients import CLIENTS, SUBSCRIPTION, Az, az_of, javascript, login_of, python_sdk

from vmkiln.settings import Settings
from vmkiln.store.database import opened

pytestmark = pytest.mark.vm
GROUP = "az-builds"
TEMPLATES = "providers/Microsoft.VirtualMachineImages/imageTemplates"
BUILD_SECONDS = 600


@pytest.fixture(scope="module")
def az(prepared: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Az]:
    """az, and `vmkiln serve` on a free port; both gone afterwards, with all that they made."""
    with unchanged_world(prepared), serving(prepared, tmp_path_factory.mktemp("serving")) as found:
        yield found


@contextlib.contextmanager
def serving(prepared: Settings, folder: Path) -> Iterator[Az]:
    with serve_process(prepared, folder):
        found = az_of(prepared.home, folder / "azure")
        found("group", "create", "-n", GROUP, "-l", "westus2")
        yield found
        found("group", "delete", "-n", GROUP, "--yes")


@contextlib.contextmanager
def serve_process(prepared: Settings, folder: Path) -> Iterator[None]:
    """`vmkiln serve` on a free port, which `service/endpoint` tells."""
    azurite = CLIENTS / "node_modules/.bin"
    path = f"{azurite}:{os.environ['PATH']}"
    environment = {**os.environ, "VMKILN_HOME": str(prepared.home), "PATH": path}
    endpoint = prepared.home / "service/endpoint"
    endpoint.unlink(missing_ok=True)
    command = [sys.executable, "-m", "vmkiln", "serve", "--listen", "127.0.0.1:0"]
    with (folder / "serve.log").open("w") as log, subprocess.Popen(command, env=environment, stderr=log) as process:
        try:
            wait_for(lambda: process.poll() is not None or endpoint.exists(), seconds=60)
            assert process.poll() is None, (folder / "serve.log").read_text()
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def image_id(name: str) -> str:
    return f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/providers/Microsoft.Compute/images/{name}"


def a_template(name: str) -> dict[str, Any]:
    source = {"type": "PlatformImage", "publisher": "Debian", "offer": "debian-12", "sku": "12", "version": "latest"}
    return {
        "location": "westus2",
        "identity": {"type": "None"},
        "properties": {
            "source": source,
            "customize": [{"type": "Shell", "name": "say", "inline": ["echo a line of the log"]}],
            "distribute": [
                {"type": "ManagedImage", "runOutputName": "out", "imageId": image_id(name), "location": "westus2"}
            ],
        },
    }


@dataclass(frozen=True)
class Built:
    """What az was told while it built the template `web`: its status, its staging resource group, the followed log."""

    status: dict[str, Any]
    staging: str
    followed: str
    attached: str


@pytest.fixture(scope="module")
def built(az: Az, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """A build by az, from the template's creation to the run's end."""
    file = tmp_path_factory.mktemp("template") / "web.json"
    file.write_text(json.dumps(a_template("web")))
    made = az("image", "builder", "create", "-g", GROUP, "-n", "web", "--image-template", str(file))
    staging = made["exactStagingResourceGroup"].rpartition("/")[2]
    az("image", "builder", "run", "-g", GROUP, "-n", "web", "--no-wait")
    groups = wait_for(lambda: az("container", "list", "-g", staging), seconds=BUILD_SECONDS)
    follow = az.start("container", "logs", "-g", staging, "-n", groups[0]["name"], "--follow")
    attached = az.start("container", "attach", "-g", staging, "-n", groups[0]["name"])
    rules = az("network", "nsg", "show", "-g", staging, "-n", "nsg")["securityRules"]
    (into,) = (rule for rule in rules if rule["name"] == "near-guest-to-far-guest")
    assert (into["protocol"], into["destinationPortRange"], into["direction"]) == ("Tcp", "22", "Inbound")
    machines = az("resource", "list", "-g", staging, "--resource-type", "Microsoft.Compute/virtualMachines")
    assert [item["name"] for item in machines] == ["build-vm"]
    has_ended = "!starts_with(lastRunStatus.endTime, '0001')"
    where = ("image", "builder", "wait", "-g", GROUP, "-n", "web")
    waited = az.run(*where, "--custom", has_ended, "--interval", "3", seconds=BUILD_SECONDS)
    assert waited.returncode == 0, waited.stderr
    status = az("image", "builder", "show", "-g", GROUP, "-n", "web")["lastRunStatus"]
    followed, _ = follow.communicate(timeout=120)
    seen, _ = attached.communicate(timeout=120)
    return Built(status, staging, followed, seen)


def test_az_builds_an_image_and_follows_the_log(az: Az, built: Built, tmp_path: Path) -> None:
    assert (built.status["runState"], built.status["message"]) == ("Succeeded", "")
    assert "a line of the log" in built.followed
    assert "a line of the log" in built.attached
    staging = built.staging
    account = az("storage", "account", "list", "-g", staging)[0]["name"]
    found = az("storage", "account", "show-connection-string", "-g", staging, "-n", account)["connectionString"]
    connection = ("-c", "packerlogs", "--connection-string", found)
    name = az("storage", "blob", "list", *connection)[0]["name"]
    az("storage", "blob", "download", "-n", name, "-f", str(tmp_path / "customization.log"), *connection)
    downloaded = (tmp_path / "customization.log").read_text()
    assert "a line of the log" in downloaded
    assert downloaded.endswith("Done exporting Packer logs to Azure Storage.\n")
    outputs = az("image", "builder", "show-runs", "-g", GROUP, "-n", "web")
    assert [item["artifactId"] for item in outputs] == [image_id("web")]
    assert {item["name"] for item in az("image", "list", "-g", GROUP)} == {"web"}
    left = az("resource", "list", "-g", staging)
    assert [item["type"] for item in left] == ["Microsoft.Storage/storageAccounts"]


def test_the_python_sdk_cancels_a_build_and_all_goes_with_the_template(
    az: Az, built: Built, prepared: Settings
) -> None:
    url = (prepared.home / "service/endpoint").read_text().strip()
    templates = python_sdk(login_of(prepared.home, url)).virtual_machine_image_templates
    running = templates.begin_run(GROUP, "web")

    def is_customizing() -> bool:
        status = templates.get(GROUP, "web").properties.last_run_status
        assert status.run_state == "Running"
        time.sleep(1)
        return bool(status.run_sub_state == "Customizing")

    wait_for(is_customizing, seconds=BUILD_SECONDS)
    templates.begin_cancel(GROUP, "web").result()
    with pytest.raises(HttpResponseError, match="canceled"):
        running.result()
    assert templates.get(GROUP, "web").properties.last_run_status.run_state == "Canceled"
    with opened(prepared.database_address) as store:
        image = store.images.find(image_id("web"))
        assert image is not None
        assert image.path.is_file()
        runs = [run for run in store.runs.list() if run.template_id.endswith(f"/{GROUP}/{TEMPLATES}/web".lower())]
        assert [run.state for run in runs] == ["Canceled", "Succeeded"]
        assert image.run_id == runs[1].run_id, "the cancelled run left the first one's image as it was"
        [group] = [row for row in store.staging.list_groups() if row.name in {run.staging_group for run in runs}]
    logs = prepared.staging / group.name / group.storage_account / "packerlogs"
    assert "a line of the log" in (logs / runs[1].run_id / "customization.log").read_text(errors="replace")
    templates.begin_delete(GROUP, "web").result()
    assert not (prepared.staging / group.name).exists()
    assert az("resource", "list", "-g", GROUP, "--resource-type", TEMPLATES.removeprefix("providers/")) == []


@pytest.mark.long
def test_the_javascript_sdk_builds_an_image(az: Az, prepared: Settings) -> None:
    url = (prepared.home / "service/endpoint").read_text().strip()
    done = javascript(login_of(prepared.home, url), group=GROUP, seconds=BUILD_SECONDS)
    assert (done.returncode, done.stdout.strip()) == (0, "done"), done.stderr
    assert "js" in [item["name"] for item in az("image", "list", "-g", GROUP)]
