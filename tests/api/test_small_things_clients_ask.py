"""What clients ask besides: whether something is there, tags, lists of what there is none of, who is behind an id."""

import subprocess
import sys
from typing import Any

import pytest
from in_process import GROUP, SUBSCRIPTION, TEMPLATE, InProcess, a_template, add_group, code_of, ended_run, provisioned

HERE = f"/subscriptions/{SUBSCRIPTION}"
IDENTITIES = f"{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities"
CREATED = {"location": "westus2", "tags": {"team": "web"}}


@pytest.fixture
def filled(service: InProcess) -> InProcess:
    add_group(service)
    for name in ("one", "two1", "three"):
        assert service.put(f"{IDENTITIES}/{name}", CREATED).status_code == 201
    return service


def test_head_tells_whether_a_resource_is_there(filled: InProcess) -> None:
    assert filled.request("HEAD", f"{IDENTITIES}/one").status_code == 204
    assert filled.request("HEAD", f"{IDENTITIES}/none").status_code == 404
    assert filled.request("HEAD", TEMPLATE).status_code == 404
    assert filled.request("HEAD", f"{IDENTITIES}/one", token="stranger").status_code == 403


def test_lists_end_after_as_many_as_are_wanted(filled: InProcess) -> None:
    for path in (f"{HERE}/resources", IDENTITIES, f"{GROUP}/resources"):
        found = filled.get(f"{path}?$top=2").json()
        assert (len(found["value"]), "nextLink" in found) == (2, False), path
        assert len(filled.get(f"{path}?$top=500").json()["value"]) == 3
    for wrong in ("0", "-1", "many", "1.5"):
        refused = filled.get(f"{HERE}/resources?$top={wrong}")
        assert (refused.status_code, code_of(refused)) == (400, "InvalidTopInQueryString")


def test_lists_of_a_group_that_is_not_there_say_so(filled: InProcess) -> None:
    for kind in ("ManagedIdentity/userAssignedIdentities", "VirtualMachineImages/imageTemplates", "Compute/galleries"):
        refused = filled.get(f"{HERE}/resourceGroups/nope/providers/Microsoft.{kind}")
        assert (refused.status_code, code_of(refused)) == (404, "ResourceGroupNotFound"), kind


def test_deployments_are_chosen_by_their_state(filled: InProcess) -> None:
    deployments = f"{GROUP}/providers/Microsoft.Resources/deployments"
    good: dict[str, Any] = {"properties": {"mode": "Incremental", "template": {"resources": []}}}
    bad = {"properties": {"mode": "Incremental", "template": {"resources": [{"type": "x/y", "name": "z"}]}}}
    for name, content in (("a", good), ("b", bad), ("c", good)):
        assert filled.put(f"{deployments}/{name}", content).status_code == 201

    def names(query: str) -> list[str]:
        return [item["name"] for item in filled.get(f"{deployments}?{query}").json()["value"]]

    assert names("$filter=provisioningState eq 'Succeeded'") == ["a", "c"]
    assert names("$filter=provisioningState eq 'Succeeded'&$top=1") == ["a"]
    assert names("$filter=provisioningState eq 'failed'") == ["b"]
    assert filled.get(f"{deployments}?$filter=name eq 'a'").status_code == 400


def test_tags_are_read_and_changed_by_themselves(filled: InProcess) -> None:
    for resource in (f"{IDENTITIES}/one", GROUP):
        tags = f"{resource}/providers/Microsoft.Resources/tags/default"

        def changed(operation: str, tags: str = tags, **given: str) -> dict[str, str]:
            response = filled.request("PATCH", tags, {"operation": operation, "properties": {"tags": given}})
            assert response.status_code == 200, response.text
            return dict(filled.get(tags).json()["properties"]["tags"])

        assert changed("Replace", a="1", b="2") == {"a": "1", "b": "2"}
        assert changed("merge", b="3", c="4") == {"a": "1", "b": "3", "c": "4"}
        assert changed("Delete", a="1", b="other") == {"b": "3", "c": "4"}
        assert filled.get(resource).json()["tags"] == {"b": "3", "c": "4"}
        assert filled.put(tags, {"properties": {"tags": {"x": "y"}}}).json()["properties"]["tags"] == {"x": "y"}
        assert filled.request("DELETE", tags).status_code == 200
        assert filled.get(tags).json()["properties"]["tags"] == {}
        assert filled.request("PATCH", tags, {"operation": "Add", "properties": {"tags": {}}}).status_code == 400
        assert filled.put(tags, {"properties": {"tags": {}}}, token="reader").status_code == 403
    missing = filled.get(f"{IDENTITIES}/none/providers/Microsoft.Resources/tags/default")
    assert missing.status_code == 404


@pytest.mark.parametrize(
    "kind",
    ["Microsoft.Compute/snapshots", "Microsoft.Authorization/policyAssignments", "Microsoft.Network/publicIPAddresses"],
)
def test_what_there_is_none_of_is_an_empty_list(filled: InProcess, kind: str) -> None:
    for place in (HERE, GROUP):
        assert filled.get(f"{place}/providers/{kind}").json() == {"value": []}
    assert filled.get(f"{HERE}/resourceGroups/none/providers/{kind}").status_code == 404
    assert filled.get(f"{HERE}/providers/{kind}", token="stranger").status_code == 404
    assert filled.put(f"{GROUP}/providers/{kind}/x", CREATED).status_code in {400, 404}


def test_the_names_of_tags_are_counted_among_what_one_may_read(filled: InProcess) -> None:
    assert filled.request("PATCH", f"{IDENTITIES}/two1", {"tags": {"team": "db", "a": "b"}}).status_code == 200
    filled.access.roles["dev"] = [("Reader", f"{IDENTITIES}/two1")]

    def counted(token: str) -> dict[str, dict[str, int]]:
        found = filled.get(f"{HERE}/tagNames", token=token).json()["value"]
        return {
            item["tagName"]: {value["tagValue"]: value["count"]["value"] for value in item["values"]} for item in found
        }

    assert counted("owner") == {"a": {"b": 1}, "team": {"web": 2, "db": 1}}
    assert counted("dev") == {"a": {"b": 1}, "team": {"db": 1}}
    assert filled.get(f"{HERE}/tagNames", token="stranger").status_code == 404
    own = filled.get(f"{HERE}/providers/Microsoft.Resources/tags/default").json()
    assert own["properties"] == {"tags": {}}


def test_a_template_is_asked_for_an_identity_since_2020(service: InProcess) -> None:
    add_group(service)
    body = {name: value for name, value in a_template().items() if name != "identity"}
    assert service.put(TEMPLATE, body, api_version="2020-02-14").status_code == 400
    assert service.put(TEMPLATE, body, api_version="2019-05-01-preview").status_code == 201


def test_what_is_no_guid_is_no_subscription(filled: InProcess) -> None:
    for path in ("/subscriptions/foo/resourceGroups", "/subscriptions/foo"):
        refused = filled.get(path, token="root")
        assert (refused.status_code, code_of(refused)) == (400, "InvalidSubscriptionId")


def test_a_principal_is_found_by_its_object_id_and_image_builder_is_known(filled: InProcess) -> None:
    principal, _ = filled.service.store.principals.create("ci")
    found = filled.get(f"/v1.0/servicePrincipals/{principal.object_id}", api_version=None)
    assert found.json()["appId"] == principal.app_id
    assert filled.get("/v1.0/servicePrincipals/nobody", api_version=None).status_code == 404
    application = "cf32a0cc-373c-47c9-9156-0db11f6a6dfc"
    query = f"$filter=servicePrincipalNames/any(c:c eq '{application}')"
    (entry,) = filled.get(f"/v1.0/servicePrincipals?{query}", api_version=None).json()["value"]
    assert entry["displayName"] == "Azure Virtual Machine Image Builder"
    for method, path in (("POST", "/v1.0/applications"), ("GET", "/v1.0/me")):
        refused = filled.request(method, path, {} if method == "POST" else None, api_version=None)
        assert (refused.status_code, "vmkiln principal create" in refused.text) == (400, True)


def test_who_may_run_a_template_sees_what_its_builds_make(living: InProcess) -> None:
    add_group(living)
    staging = provisioned(living, TEMPLATE, a_template("sleep"))["properties"]["exactStagingResourceGroup"]
    living.access.roles |= {"dev": [("Contributor", TEMPLATE)], "other": [("Owner", f"{IDENTITIES}/x")]}
    assert living.request("POST", f"{TEMPLATE}/run", token="dev").status_code == 202
    assert ended_run(living, TEMPLATE)["runState"] == "Succeeded"
    groups = f"{staging}/providers/Microsoft.ContainerInstance/containerGroups"
    (group,) = living.get(groups, token="dev").json()["value"]
    assert group["properties"]["containers"][0]["properties"]["instanceView"]["currentState"]["exitCode"] == 0
    assert living.get(f"{group['id']}/containers/packer/logs", token="dev").status_code == 200
    missing = living.get(f"{group['id']}/containers/nope/logs", token="dev")
    assert (missing.status_code, code_of(missing)) == (404, "ContainerNotFound")
    for interface in living.get(f"{staging}/providers/Microsoft.Network/networkInterfaces").json()["value"]:
        for part in interface["properties"]["ipConfigurations"]:
            assert part["id"].startswith(f"{interface['id']}/ipConfigurations/")
    for machine in living.get(f"{staging}/providers/Microsoft.Compute/virtualMachines").json()["value"]:
        (interface,) = machine["properties"]["networkProfile"]["networkInterfaces"]
        assert interface["id"].startswith(f"{staging}/providers/Microsoft.Network/networkInterfaces/")
    assert living.get(groups, token="other").status_code == 403
    assert living.request("DELETE", staging, token="dev").status_code == 403


def test_the_socket_that_systemd_listens_on_is_taken() -> None:
    program = """
import os, socket
from vmkiln.errors import InputError
from vmkiln.listener import Address, bound, inherited
own = socket.create_server(("127.0.0.1", 0))
os.dup2(own.fileno(), 3)
given = {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}
assert inherited({**given, "LISTEN_PID": "1"}) is None and inherited({}) is None
with bound(Address("127.0.0.1", 1), inherited(given)) as listening:
    assert listening.getsockname() == own.getsockname()
refused = []
for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
    other = socket.socket(socket.AF_INET, kind)
    other.bind(("127.0.0.1", 0))
    os.dup2(other.detach(), 3)
    try:
        inherited(given)
    except InputError:
        refused.append(kind)
assert len(refused) == 2
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
