"""The real az against the service: what people type works, and what goes wrong is told."""

import json
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from in_process import wait_for
from real_clients import SUBSCRIPTION, Az, Login
from turns import ON_EVEN_DAYS, ON_ODD_DAYS

from vmkiln.store.database import utc_now

TEMPLATES = "Microsoft.VirtualMachineImages/imageTemplates"
SHELL = {"type": "Shell", "name": "first", "inline": ["echo hello"]}
SOURCE = {"type": "PlatformImage", "publisher": "Debian", "offer": "debian-12", "sku": "12", "version": "latest"}


def template(group_id: str, *commands: str) -> dict[str, Any]:
    target = {
        "type": "ManagedImage",
        "runOutputName": "out",
        "imageId": f"{group_id}/providers/Microsoft.Compute/images/web",
        "location": "westus2",
    }
    properties = {"source": SOURCE, "customize": [{**SHELL, "inline": list(commands)}], "distribute": [target]}
    return {"location": "westus2", "identity": {"type": "None"}, "properties": properties}


def in_file(directory: Path, content: Any) -> str:
    path = directory / "content.json"
    path.write_text(json.dumps(content))
    return str(path)


def ended(az: Az, name: str) -> dict[str, Any]:
    for _ in range(100):
        status = az("image", "builder", "show", "-g", "rg1", "-n", name)["lastRunStatus"]
        if status and not str(status["endTime"]).startswith("0001"):
            return dict(status)
        time.sleep(0.2)
    raise AssertionError("the run did not end")


def test_the_whole_life_of_a_template(az: Az, group_id: str, tmp_path: Path) -> None:
    file = in_file(tmp_path, template(group_id, "echo hello"))
    made = az("image", "builder", "create", "-g", "rg1", "-n", "web", "--image-template", file)
    assert made["provisioningState"] == "Succeeded"
    assert [item["name"] for item in az("image", "builder", "list", "-g", "rg1")] == ["web"]
    az("image", "builder", "run", "-g", "rg1", "-n", "web")
    assert ended(az, "web")["runState"] == "Succeeded"
    query = "lastRunStatus.runState=='Succeeded'"
    az("image", "builder", "wait", "-g", "rg1", "-n", "web", "--custom", query, "--interval", "1", "--timeout", "30")
    assert [item["name"] for item in az("image", "builder", "show-runs", "-g", "rg1", "-n", "web")] == ["out"]
    trigger = ("-g", "rg1", "--image-template-name", "web")
    az("image", "builder", "trigger", "create", *trigger, "-n", "source", "--kind", "SourceImage")
    listed = az("image", "builder", "trigger", "list", *trigger)
    assert [item["status"]["code"] for item in listed] == ["Healthy"]
    az("image", "builder", "trigger", "delete", *trigger, "-n", "source", "--yes")
    identity = az("identity", "create", "-g", "rg1", "-n", "builder")["id"]
    az("image", "builder", "identity", "assign", "-g", "rg1", "-n", "web", "--user-assigned", identity)
    shown = az("image", "builder", "identity", "show", "-g", "rg1", "-n", "web")
    assert shown["type"] == "UserAssigned"
    az("image", "builder", "identity", "remove", "-g", "rg1", "-n", "web", "--user-assigned", identity, "--yes")
    az("image", "builder", "delete", "-g", "rg1", "-n", "web")
    missing = az.run("image", "builder", "show", "-g", "rg1", "-n", "web")
    assert missing.returncode == 3
    assert "ResourceNotFound" in missing.stderr


@ON_ODD_DAYS
def test_a_template_made_of_arguments_step_by_step(az: Az, group_id: str) -> None:
    where = ("-g", "rg1", "-n", "steps")
    image = f"{group_id}/providers/Microsoft.Compute/images/steps=westus2"
    identity = az("identity", "create", "-g", "rg1", "-n", "stepper")["id"]
    az(
        "image", "builder", "create", *where, "-i", "Debian:debian-12:12:latest", "--defer",
        "--managed-image-destinations", image, "--identity", identity,
    )  # fmt: skip
    add = ("image", "builder", "customizer", "add", *where, "--defer")
    az(*add, "--customizer-name", "shell", "--type", "shell", "--inline-script", "echo one", "echo two")
    az(*add, "--customizer-name", "gone", "--type", "shell", "--inline-script", "false")
    az("image", "builder", "customizer", "remove", *where, "--defer", "--customizer-name", "gone")
    az("image", "builder", "output", "add", *where, "--defer", "--is-vhd", "--output-name", "disk")
    az("image", "builder", "validator", "add", *where, "--defer")
    az("image", "builder", "error-handler", "add", *where, "--defer", "--on-customizer-error", "cleanup")
    made = az("image", "builder", "update", *where)
    assert made["provisioningState"] == "Succeeded"
    assert [item["inline"] for item in made["customize"]] == [["echo one", "echo two"]]
    assert sorted(item["type"] for item in made["distribute"]) == ["ManagedImage", "VHD"]
    az("image", "builder", "delete", *where)


@ON_ODD_DAYS
def test_a_run_is_cancelled_and_a_failed_one_told(az: Az, group_id: str, tmp_path: Path) -> None:
    for name, command in (("slow", "wait"), ("bad", "fail")):
        file = in_file(tmp_path, template(group_id, command))
        az("image", "builder", "create", "-g", "rg1", "-n", name, "--image-template", file)
    az("image", "builder", "run", "-g", "rg1", "-n", "slow", "--no-wait")
    shown = az("image", "builder", "show", "-g", "rg1", "-n", "slow")
    staging = shown["exactStagingResourceGroup"].rpartition("/")[2]
    containers = wait_for(lambda: az("container", "list", "-g", staging))
    assert containers[0]["containers"][0]["instanceView"]["currentState"]["state"] == "Running"
    kinds = {item["type"] for item in az("resource", "list", "-g", staging)}
    assert "Microsoft.Compute/virtualMachines" in kinds
    where = ("-g", staging, "-n", containers[0]["name"])
    assert "wait" in az.run("container", "logs", *where).stdout
    follow = az.start("container", "logs", *where, "--follow")
    attach = az.start("container", "attach", *where)
    entered = az.run("container", "exec", *where, "--exec-command", "/bin/sh")
    assert entered.returncode != 0
    assert "az container logs --follow" in entered.stderr
    refused = az.run("image", "builder", "delete", "-g", "rg1", "-n", "slow")
    assert refused.returncode != 0
    assert "OperationNotAllowed" in refused.stderr
    az("image", "builder", "cancel", "-g", "rg1", "-n", "slow")
    assert ended(az, "slow")["runState"] == "Canceled"
    followed, _ = follow.communicate(timeout=90)
    assert follow.returncode == 0
    assert "wait" in followed
    attached, _ = attach.communicate(timeout=90)
    assert attach.returncode == 0
    assert "Container 'packer' is in state 'Running'" in attached
    assert "Started container packer" in attached
    assert "wait" in attached.partition("Start streaming logs:")[2]
    failed = az.run("image", "builder", "run", "-g", "rg1", "-n", "bad")
    assert failed.returncode != 0
    assert "PackerBuildFailed" in failed.stderr
    assert "customization.log" in ended(az, "bad")["message"]
    for name in ("slow", "bad"):
        az("image", "builder", "delete", "-g", "rg1", "-n", name)


def test_mistakes_are_printed_and_nothing_is_made(az: Az, group_id: str, tmp_path: Path) -> None:
    wrong = template(group_id, "true")
    wrong["properties"]["buildTimeoutInMinutes"] = 3
    file = in_file(tmp_path, wrong)
    done = az.run("image", "builder", "create", "-g", "rg1", "-n", "wrong", "--image-template", file)
    assert done.returncode != 0
    assert "ValidationFailed" in done.stderr
    assert "buildTimeoutInMinutes" in done.stderr


@ON_EVEN_DAYS
def test_a_deployment(az: Az, group_id: str, tmp_path: Path) -> None:
    resource = {
        "type": "Microsoft.VirtualMachineImages/imageTemplates",
        "apiVersion": "2024-02-01",
        "name": "[parameters('name')]",
        **template(group_id, "true"),
        "tags": {"made": "by a deployment"},
    }
    output = {"type": "string", "value": "[reference(parameters('name')).provisioningState]"}
    content = {
        "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
        "contentVersion": "1.0.0.0",
        "parameters": {"name": {"type": "string"}},
        "resources": [resource],
        "outputs": {"state": output},
    }
    path = tmp_path / "azuredeploy.json"
    path.write_text("// a comment, as people have them\n" + json.dumps(content, indent=2))
    group = ("deployment", "group")
    options = ("-g", "rg1", "-n", "d1", "-f", str(path), "-p", "name=deployed")
    assert az(*group, "validate", *options)["properties"]["provisioningState"] == "Succeeded"
    changes = az(*group, "what-if", *options, "--no-pretty-print")["changes"]
    assert [item["changeType"] for item in changes] == ["Create"]
    shown = az.run(*group, "what-if", *options).stdout
    assert "+ Microsoft.VirtualMachineImages/imageTemplates/deployed [2024-02-01]" in shown
    assert "Resource changes: 1 to create." in shown
    made = az(*group, "create", *options)
    assert made["properties"]["outputs"]["state"]["value"] == "Succeeded"
    assert az(*group, "show", "-g", "rg1", "-n", "d1")["name"] == "d1"
    listed = az("deployment", "operation", "group", "list", "-g", "rg1", "-n", "d1")
    assert {item["properties"]["provisioningState"] for item in listed} == {"Succeeded"}
    resource_type = "Microsoft.VirtualMachineImages/imageTemplates"
    found = az("resource", "list", "-g", "rg1", "--resource-type", resource_type)
    assert "deployed" in [item["name"] for item in found]
    by_type = ("-g", "rg1", "-n", "deployed", "--resource-type", resource_type)
    assert az("resource", "show", *by_type)["tags"] == {"made": "by a deployment"}
    az("resource", "tag", "--tags", "a=b", "--ids", f"{group_id}/providers/{resource_type}/deployed")
    az("resource", "invoke-action", *by_type, "--action", "Run")
    assert ended(az, "deployed")["runState"] == "Succeeded"
    az("resource", "delete", *by_type)
    broken = az.run(*group, "create", "-g", "rg1", "-n", "d2", "-f", str(path))
    assert broken.returncode != 0
    link = {"mode": "Incremental", "templateLink": {"uri": "https://example.org/linked.json"}}
    linked = {"type": "Microsoft.Resources/deployments", "apiVersion": "2022-09-01", "name": "l", "properties": link}
    path.write_text(json.dumps({**content, "parameters": {}, "resources": [linked], "outputs": {}}))
    refused = az.run(*group, "create", "-g", "rg1", "-n", "d3", "-f", str(path))
    assert refused.returncode != 0
    assert "a linked deployment is not fetched" in refused.stderr


@ON_EVEN_DAYS
def test_galleries_networks_and_roles(az: Az) -> None:
    az("sig", "create", "-g", "rg1", "--gallery-name", "golden")
    definition = ("-g", "rg1", "--gallery-name", "golden", "--gallery-image-definition", "debian")
    az(
        "sig", "image-definition", "create", *definition, "--publisher", "p", "--offer", "o", "--sku", "s",
        "--os-type", "Linux",
    )  # fmt: skip
    assert az("sig", "image-version", "list", *definition) == []
    az(
        "network", "vnet", "create", "-g", "rg1", "-n", "net", "--address-prefixes", "10.1.0.0/16",
        "--subnet-name", "build", "--subnet-prefixes", "10.1.1.0/24",
    )  # fmt: skip
    subnets = az("network", "vnet", "subnet", "list", "-g", "rg1", "--vnet-name", "net")
    assert [item["addressPrefix"] for item in subnets] == ["10.1.1.0/24"]
    assert az("image", "list", "-g", "rg1") == []
    assert az("provider", "show", "-n", "Microsoft.VirtualMachineImages")["registrationState"] == "Registered"
    assert [item["name"] for item in az("group", "list")] == ["rg1"]
    roles = az("role", "definition", "list", "--name", "Contributor")
    assert [item["roleName"] for item in roles] == ["Contributor"]


def test_the_documented_way_without_az_setup(login: Login, tmp_path: Path, az: Az) -> None:
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(login.authority.read_bytes())
    plain = Az({**az.environment, "AZURE_CONFIG_DIR": str(tmp_path / "azure"), "REQUESTS_CA_BUNDLE": str(bundle)})
    for arguments in (
        ("cloud", "register", "-n", "here", "--endpoint-resource-manager", login.url),
        ("cloud", "set", "-n", "here"),
        ("config", "set", "core.instance_discovery=false"),
    ):
        assert plain.run(*arguments).returncode == 0
    secret = ("-u", login.app_id, "-p", login.secret, "--tenant", login.tenant)
    accounts = plain("login", "--service-principal", *secret)
    assert SUBSCRIPTION in [item["id"] for item in accounts]
    assert "rg1" in [item["name"] for item in plain("group", "list")]


@pytest.mark.parametrize("secret", ["wrong", ""])
def test_a_wrong_secret_is_told(login: Login, az: Az, tmp_path: Path, secret: str) -> None:
    own = tmp_path / "azure"
    environment = {**az.environment, "AZURE_CONFIG_DIR": str(own)}
    plain = Az(environment)
    plain.run("cloud", "register", "-n", "here", "--endpoint-resource-manager", login.url)
    plain.run("cloud", "set", "-n", "here")
    plain.run("config", "set", "core.instance_discovery=false")
    done = plain.run("login", "--service-principal", "-u", login.app_id, "-p", secret, "--tenant", login.tenant)
    assert done.returncode != 0


@ON_EVEN_DAYS
def test_the_log_is_downloaded_with_the_accounts_connection_string(az: Az, group_id: str, tmp_path: Path) -> None:
    file = in_file(tmp_path, template(group_id, "echo downloaded"))
    az("image", "builder", "create", "-g", "rg1", "-n", "logged", "--image-template", file)
    az("image", "builder", "run", "-g", "rg1", "-n", "logged")
    assert ended(az, "logged")["runState"] == "Succeeded"
    shown = az("resource", "show", "--ids", f"{group_id}/providers/{TEMPLATES}/logged", "--api-version", "2025-10-01")
    group = shown["properties"]["exactStagingResourceGroup"].rpartition("/")[2]
    account = az("storage", "account", "list", "-g", group)[0]["name"]
    keys = az("storage", "account", "keys", "list", "-g", group, "-n", account)
    assert [key["keyName"] for key in keys] == ["key1", "key2"]
    found = az("storage", "account", "show-connection-string", "-g", group, "-n", account)["connectionString"]
    connection = ("--connection-string", found)

    def logs() -> list[str]:
        done = az.run("storage", "blob", "list", "-c", "packerlogs", *connection, "-o", "json")
        return [blob["name"] for blob in json.loads(done.stdout)] if done.returncode == 0 else []

    name = wait_for(logs, seconds=60)[0]
    assert name.endswith("/customization.log")
    target = tmp_path / "customization.log"
    az("storage", "blob", "download", "-c", "packerlogs", "-n", name, "-f", str(target), *connection)
    assert "PACKER OUT echo downloaded" in target.read_text()
    az("storage", "account", "keys", "renew", "-g", group, "-n", account, "--key", "primary")
    refused = az.run("storage", "blob", "list", "-c", "packerlogs", *connection)
    assert refused.returncode != 0, "the key of before is worth nothing"
    renewed = az("storage", "account", "show-connection-string", "-g", group, "-n", account)["connectionString"]
    listed = az("storage", "blob", "list", "-c", "packerlogs", "--connection-string", renewed)
    assert [blob["name"] for blob in listed] == [name]


@ON_ODD_DAYS
def test_a_script_in_a_storage_account_of_ones_own_is_built(az: Az, group_id: str, tmp_path: Path) -> None:
    assert az("storage", "account", "check-name", "-n", "steps1")["nameAvailable"] is True
    made = az("storage", "account", "create", "-g", "rg1", "-n", "steps1", "-l", "westus2")
    assert made["primaryEndpoints"]["blob"].endswith("/steps1/")
    container = az("storage", "container-rm", "create", "-g", "rg1", "--storage-account", "steps1", "-n", "own")
    assert container["name"] == "own"
    connection = az("storage", "account", "show-connection-string", "-g", "rg1", "-n", "steps1")["connectionString"]
    own = ("-c", "own", "-n", "a.sh", "--connection-string", connection)
    az("storage", "blob", "upload", "--data", "echo from my account", *own)
    ends = (utc_now() + timedelta(days=1)).strftime("%Y-%m-%dT%H:%MZ")
    address = az("storage", "blob", "generate-sas", "--permissions", "r", "--expiry", ends, "--full-uri", *own)
    steps = template(group_id, "true")
    steps["properties"]["customize"] = [{"type": "Shell", "name": "mine", "scriptUri": address}]
    az("image", "builder", "create", "-g", "rg1", "-n", "stored", "--image-template", in_file(tmp_path, steps))
    az("image", "builder", "run", "-g", "rg1", "-n", "stored")
    assert ended(az, "stored")["runState"] == "Succeeded"


@ON_EVEN_DAYS
def test_az_shows_who_did_what(az: Az, login: Login, group_id: str, tmp_path: Path) -> None:
    az("group", "create", "-n", "watched", "-l", "westus2")
    identity = az("identity", "create", "-g", "watched", "-n", "first")["id"]
    role = ("--role", "Reader", "--assignee-object-id", "anna", "--assignee-principal-type", "ServicePrincipal")
    az("role", "assignment", "create", "--scope", identity.partition("/providers/")[0], *role)
    assert az.run("identity", "create", "-g", "watched", "-n", "?").returncode != 0
    file = in_file(tmp_path, template(group_id, "true"))
    az("image", "builder", "create", "-g", "rg1", "-n", "seen", "--image-template", file)
    az("image", "builder", "run", "-g", "rg1", "-n", "seen", "--no-wait")
    shown = ("monitor", "activity-log", "list")

    found = az(*shown, "-g", "watched", "--offset", "1h")
    assert [(item["operationName"]["value"].partition("/")[2], item["subStatus"]["value"]) for item in found] == [
        ("userAssignedIdentities/write", "BadRequest"),
        ("roleAssignments/write", "Created"),
        ("userAssignedIdentities/write", "Created"),
        ("subscriptions/resourceGroups/write", "Created"),
    ]
    assert {(item["caller"], item["httpRequest"]["clientIpAddress"]) for item in found} == {("owner", "127.0.0.1")}
    assert found[1]["properties"]["principalId"] == "anna"
    assert all(item["httpRequest"]["clientRequestId"] for item in found), "az names its requests"

    by_id = az(*shown, "--resource-id", identity)
    assert [item["resourceId"] for item in by_id] == [identity]
    assert az(*shown, "--correlation-id", by_id[0]["correlationId"], "--offset", "7d") == by_id
    runs = az(*shown, "--namespace", "Microsoft.VirtualMachineImages", "--caller", "OWNER", "--status", "Accepted")
    assert f"{group_id}/providers/{TEMPLATES}/seen" in [item["resourceId"] for item in runs]
    assert az(*shown, "--start-time", "2020-01-01", "--end-time", "2020-01-02T03:04:05Z") == []
    chosen = az(*shown, "-g", "watched", "--select", "caller", "resourceId", "--max-events", "2")
    assert [set(item) for item in chosen] == [{"caller", "resourceId"}] * 2
    assert [item["value"] for item in az("monitor", "activity-log", "list-categories")] == ["Administrative"]
    az("image", "builder", "delete", "-g", "rg1", "-n", "seen")


def test_the_catalogue_as_az_vm_image_asks_for_it(az: Az) -> None:
    offline = {item["urnAlias"]: item["urn"] for item in az("vm", "image", "list")}
    assert offline["Ubuntu2204"] == "Canonical:0001-com-ubuntu-server-jammy:22_04-lts-gen2:latest"
    assert offline["Debian12"] == "Debian:debian-12:12-gen2:latest"
    place = ("-l", "westus2")
    assert "Canonical" in [item["name"] for item in az("vm", "image", "list-publishers", *place)]
    offers = az("vm", "image", "list-offers", *place, "-p", "Canonical")
    assert "UbuntuServer" in [item["name"] for item in offers]
    skus = az("vm", "image", "list-skus", *place, "-p", "Canonical", "-f", "UbuntuServer")
    assert "18.04-LTS" in [item["name"] for item in skus]
    every = az("vm", "image", "list", *place, "--all", "-p", "Debian", "-f", "debian-13", "-s", "13-upstream-gen2")
    assert [item["urn"] for item in every] == ["Debian:debian-13:13-upstream-gen2:latest"]
    shown = az("vm", "image", "show", *place, "--urn", "Debian:debian-12:12-gen2:latest")
    assert (shown["name"], shown["hyperVGeneration"], shown["architecture"]) == ("latest", "V2", "x64")
    assert shown["osDiskImage"]["operatingSystem"] == "Linux"
    missing = az.run("vm", "image", "show", *place, "--urn", "RedHat:RHEL:9-lvm:1.0.0")
    assert missing.returncode != 0
    assert "vmkiln image import FILE --as RedHat:RHEL:9-lvm" in missing.stderr


@ON_ODD_DAYS
def test_sizes_locks_tags_and_locations_are_told_as_az_asks(az: Az, group_id: str) -> None:
    [size] = az("vm", "list-skus", "-l", "westus2", "--size", "Standard_D2ps_v5")
    assert {"name": "CpuArchitectureType", "value": "Arm64"} in size["capabilities"]
    assert len(az("vm", "list-sizes", "-l", "westus2")) > 1000
    identity = az("identity", "create", "-g", "rg1", "-n", "locked", "--tags", "asked=here")["id"]
    locks = ("--resource-type", "Microsoft.ManagedIdentity/userAssignedIdentities", "--resource-name", "locked")
    assert az("lock", "list", "-g", "rg1", *locks) == []
    assert "asked" in [item["tagName"] for item in az("tag", "list")]
    assert az("tag", "list", "--resource-id", identity)["properties"]["tags"] == {"asked": "here"}
    nowhere = az.run("group", "create", "-n", "rg9", "-l", "nowhereland")
    assert nowhere.returncode != 0
    assert "LocationNotAvailableForResourceGroup" in nowhere.stderr
    az("identity", "delete", "--ids", identity)


def test_a_template_starts_from_a_short_name_of_an_image(az: Az, group_id: str) -> None:
    identity = az("identity", "create", "-g", "rg1", "-n", "short")["id"]
    az(
        "image", "builder", "create", "-g", "rg1", "-n", "short", "-i", "Debian12", "--identity", identity,
        "--managed-image-destinations", f"{group_id}/providers/Microsoft.Compute/images/short=westus2",
    )  # fmt: skip
    source = az("image", "builder", "show", "-g", "rg1", "-n", "short")["source"]
    assert (source["offer"], source["sku"]) == ("debian-12", "12-gen2")
    az("image", "builder", "delete", "-g", "rg1", "-n", "short")


@ON_ODD_DAYS
def test_locks_hold_and_are_taken_back_and_a_group_is_exported(az: Az, group_id: str) -> None:
    az("group", "create", "-n", "locked", "-l", "westus2")
    az("identity", "create", "-g", "locked", "-n", "kept")
    az("lock", "create", "-g", "locked", "-n", "keep", "--lock-type", "CanNotDelete", "--notes", "do not")
    assert [(item["name"], item["level"]) for item in az("lock", "list", "-g", "locked")] == [("keep", "CanNotDelete")]
    refused = az.run("identity", "delete", "-g", "locked", "-n", "kept")
    assert refused.returncode != 0
    assert "ScopeLocked" in refused.stderr
    [resource] = az("group", "export", "-n", "locked")["resources"]
    assert (resource["type"], resource["name"]) == ("Microsoft.ManagedIdentity/userAssignedIdentities", "kept")
    az("lock", "delete", "-g", "locked", "-n", "keep")
    az("group", "delete", "-n", "locked", "--yes")
