"""What callers PUT has room for so much per group and subscription; what is there can still be changed then."""

import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from in_process import (
    GROUP,
    OTHER_SUBSCRIPTION,
    OWNER,
    SUBSCRIPTION,
    InProcess,
    InstantWork,
    TestAccess,
    a_template,
    add_group,
    code_of,
    started,
)
from postgresql import Cluster, cluster
from service_fixtures import some_access

from vmkiln.preparation import quota_of
from vmkiln.settings import Settings
from vmkiln.store.bounded.quota import MIB, SMALL_BYTES, Quota
from vmkiln.store.database import opened
from vmkiln.store.rows import ResourceRow

access = some_access
Opened = Callable[[Quota], InProcess]
NETWORK = "Microsoft.Network/virtualNetworks"
READER = "acdd72a7-3385-48ef-bd42-f606fba81ae7"


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    with cluster() as found:
        yield found


@pytest.fixture(params=["sqlite", "postgresql"])
def with_quota(request: pytest.FixtureRequest, server: Cluster, tmp_path: Path, access: TestAccess) -> Iterator[Opened]:
    with ExitStack() as stack:

        def make(quota: Quota) -> InProcess:
            place = server.new_database() if request.param == "postgresql" else tmp_path / "vmkiln.sqlite"
            store = stack.enter_context(opened(place, quota=quota))
            service = started(store, tmp_path, access, InstantWork(store=store))
            for subscription in (SUBSCRIPTION, OTHER_SUBSCRIPTION):
                add_group(service, subscription)
            return service

        yield make


def identity(name: str, group: str = GROUP) -> str:
    return f"{group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/id-{name}"


def made(service: InProcess, path: str, body: Any = None, *, token: str = OWNER) -> tuple[int, str]:
    answer = service.put(path, {"location": "westus2", **(body or {})}, token=token)
    return answer.status_code, code_of(answer) if answer.status_code >= 400 else ""


def a_network(prefixes: int = 1) -> dict[str, Any]:
    """The body of a virtual network that is as long as it is told."""
    return {"properties": {"addressSpace": {"addressPrefixes": ["10.0.0.0/16"] * prefixes}}}


def test_a_group_has_so_many_of_a_type_and_changes_those_it_has(with_quota: Opened) -> None:
    service = with_quota(Quota(most_resources_of_a_type=2))
    assert [made(service, identity(name))[0] for name in "ab"] == [201, 201]
    full = service.put(identity("c"), {"location": "westus2"})
    assert (full.status_code, code_of(full)) == (409, "ResourceQuotaExceeded")
    words = "would exceed the quota of '2' resources of type 'Microsoft.ManagedIdentity/userAssignedIdentities'"
    assert words in full.text
    assert made(service, identity("a").replace("id-a", "ID-A"), {"tags": {"a": "b"}}) == (200, "")
    assert service.request("PATCH", identity("a"), {"tags": {"a": "c"}}).status_code == 200
    assert made(service, f"{GROUP}/providers/{NETWORK}/n", a_network()) == (201, ""), "another type has its own"
    other = GROUP.replace(SUBSCRIPTION, OTHER_SUBSCRIPTION)
    assert made(service, identity("c", other), token="root") == (201, ""), "another subscription has its own"
    add_group(service, name="rg2")
    assert made(service, identity("c", f"{GROUP[:-1]}2")) == (201, ""), "another group has its own"
    assert service.request("DELETE", identity("a")).status_code == 200
    assert made(service, identity("c")) == (201, "")


def test_an_image_template_beyond_is_refused_before_anything_is_done(with_quota: Opened) -> None:
    service = with_quota(Quota(most_resources_of_a_type=1))
    path = f"{GROUP}/providers/Microsoft.VirtualMachineImages/imageTemplates"
    assert service.put(f"{path}/a", a_template()).status_code == 201
    full = service.put(f"{path}/b", a_template())
    assert (full.status_code, code_of(full)) == (409, "ResourceQuotaExceeded")
    assert service.get(f"{path}/b").status_code == 404
    assert service.put(f"{path}/a", {**a_template(), "tags": {"x": "y"}}).status_code == 200


def test_nested_resources_are_counted_in_their_parent(with_quota: Opened) -> None:
    service = with_quota(Quota(most_resources_of_a_type=2))
    body = {"properties": {"issuer": "https://i.example", "audiences": ["a"]}}
    for name in "ab":
        assert made(service, identity(name)) == (201, "")
    for name, of, wanted in (("x", "a", 201), ("y", "a", 201), ("z", "a", 409), ("x", "b", 201)):
        path = f"{identity(of)}/federatedIdentityCredentials/cred-{name}"
        subject = {"properties": {**body["properties"], "subject": f"{of}{name}"}}
        assert service.put(path, subject).status_code == wanted, (name, of)


def test_a_subscription_has_so_many_groups(with_quota: Opened) -> None:
    service = with_quota(Quota(most_resource_groups=2))
    place = GROUP.rpartition("/")[0]
    assert made(service, f"{place}/two") == (201, "")
    full = service.put(f"{place}/three", {"location": "westus2"})
    assert (full.status_code, code_of(full)) == (409, "ResourceGroupQuotaExceeded")
    assert "Creating or updating the resource group 'three' would exceed the quota of '2'" in full.text
    assert made(service, f"{place}/two", {"tags": {"a": "b"}}) == (200, "")


def test_a_subscription_keeps_so_many_resources_and_deployments(with_quota: Opened) -> None:
    service = with_quota(Quota(most_resources=3, most_resources_of_a_type=1))
    path = f"{GROUP}/providers/Microsoft.Resources/deployments"
    body = {"properties": {"mode": "Incremental", "template": {"resources": []}}}
    assert service.put(f"{path}/a", body).status_code == 201
    full = service.put(f"{path}/b", body)
    assert (full.status_code, code_of(full)) == (409, "DeploymentQuotaExceeded")
    assert service.put(f"{path}/a", body).status_code == 200
    assert made(service, identity("a")) == (201, "")
    assert made(service, f"{GROUP}/providers/{NETWORK}/n", a_network()) == (409, "ResourceQuotaExceeded")


def test_a_subscription_keeps_so_many_bytes_and_small_changes_go_on(with_quota: Opened) -> None:
    service = with_quota(Quota(most_resource_mib=1))
    network = f"{GROUP}/providers/{NETWORK}"
    wide = a_network(MIB // 4 // 15)
    assert [made(service, f"{network}/n{number}", wide)[1] for number in range(4)] == [
        "",
        "",
        "",
        "ResourceQuotaExceeded",
    ]
    assert made(service, f"{network}/small", a_network()) == (201, "")
    assert made(service, f"{network}/small", wide) == (409, "ResourceQuotaExceeded"), "nor by way of an update"
    assert made(service, f"{network}/small", a_network(SMALL_BYTES // 2 // 15)) == (200, "")
    assert service.request("PATCH", f"{network}/n0", {"tags": {"a": "b"}}).status_code == 200
    assert made(service, f"{network}/n0", a_network()) == (200, "")
    assert made(service, f"{network}/n3", wide) == (201, ""), "there is room again"


def test_a_deployment_is_not_repeated_while_no_byte_is_left(with_quota: Opened) -> None:
    service = with_quota(Quota(most_resource_mib=1))
    path = f"{GROUP}/providers/Microsoft.Resources/deployments/a"
    body = {"properties": {"mode": "Incremental", "template": {"resources": []}}}
    assert [service.put(path, body).status_code for _ in range(2)] == [201, 200]
    service.service.store.resources.quota = Quota(most_resource_mib=0)
    full = service.put(path, body)
    assert (full.status_code, code_of(full)) == (409, "ResourceQuotaExceeded"), "it would grow with what it records"
    assert service.put(GROUP, {"location": "westus2", "tags": {"a": "b"}}).status_code == 200


def test_a_refused_image_definition_leaves_nothing(with_quota: Opened) -> None:
    """What it left would be nobody's to delete, count for ever, and pass for a definition that is there."""
    service = with_quota(Quota(most_resources_of_a_type=1))
    gallery = f"{GROUP}/providers/Microsoft.Compute/galleries/g"
    assert made(service, gallery) == (201, "")
    kind = {"publisher": "p", "offer": "o"}
    values = {"osType": "Linux", "osState": "Generalized"}
    for name, wanted in (("a", 201), ("b", 409)):
        body = {"properties": {**values, "identifier": {**kind, "sku": name}}}
        assert made(service, f"{gallery}/images/{name}", body)[0] == wanted, name
    recorded = [row.definition_id.rpartition("/")[2] for row in service.service.store.images.definitions()]
    assert recorded == ["a"]
    assert service.request("DELETE", f"{gallery}/images/a").status_code == 200
    body = {"properties": {**values, "osType": "Windows", "identifier": {**kind, "sku": "b"}}}
    assert made(service, f"{gallery}/images/b", body) == (201, "")
    assert service.service.store.images.definitions()[0].os_type == "Windows"


def test_a_script_that_is_refused_runs_nothing(with_quota: Opened) -> None:
    service = with_quota(Quota(most_resources_of_a_type=1))
    template = f"{GROUP}/providers/Microsoft.VirtualMachineImages/imageTemplates/t"
    assert service.put(template, a_template()).status_code == 201
    scripts = f"{GROUP}/providers/Microsoft.Resources/deploymentScripts"
    group = GROUP.rpartition("/")[2]
    given = {"scriptContent": f"az image builder run -g {group} -n t", "azCliVersion": "2.60.0"}
    body = {"kind": "AzureCLI", "properties": {**given, "retentionInterval": "P1D"}}
    row = ResourceRow(f"{scripts}/first", "Microsoft.Resources/deploymentScripts", "first", SUBSCRIPTION, group)
    service.service.store.resources.put(row)
    assert made(service, f"{scripts}/second", body) == (409, "ResourceQuotaExceeded")
    assert service.service.store.runs.list() == []


def test_what_is_put_again_and_tags_of_a_group_are_counted_too(with_quota: Opened) -> None:
    service = with_quota(Quota())
    template = f"{GROUP}/providers/Microsoft.VirtualMachineImages/imageTemplates/t"
    long = {**a_template(), "tags": {f"{'n' * 500}{number}": "\u00e4" * 256 for number in range(50)}}
    assert service.put(template, a_template()).status_code == 201
    service.service.store.resources.quota = Quota(most_resource_mib=0)
    for path, body in ((template, long), (GROUP, {"location": "westus2", "tags": long["tags"]})):
        full = service.put(path, body)
        assert (full.status_code, code_of(full)) == (409, "ResourceQuotaExceeded"), path
    assert service.request("PATCH", GROUP, {"tags": long["tags"]}).status_code == 409
    assert service.put(template, {**a_template(), "tags": {"a": "b"}}).status_code == 200


def test_roles_and_image_definitions_have_their_number(with_quota: Opened) -> None:
    service = with_quota(Quota(most_role_assignments=10, most_resources_of_a_type=2))
    path = f"{GROUP}/providers/Microsoft.Authorization/roleAssignments"
    role = f"/providers/Microsoft.Authorization/roleDefinitions/{READER}"
    answers = []
    for _ in range(10):
        body = {"properties": {"roleDefinitionId": role, "principalId": str(uuid.uuid4())}}
        answers.append(service.put(f"{path}/{uuid.uuid4()}", body))
    assert {answer.status_code for answer in answers} == {201, 409}
    assert code_of(answers[-1]) == "RoleAssignmentLimitExceeded"
    gallery = f"{GROUP}/providers/Microsoft.Compute/galleries/g"
    assert made(service, gallery) == (201, "")
    kind = {"publisher": "p", "offer": "o", "sku": "s"}
    definition = {"properties": {"osType": "Linux", "osState": "Generalized", "identifier": kind}}
    for name, wanted in (("a", 201), ("b", 201), ("c", 409), ("a", 200)):
        body = {**definition, "properties": {**definition["properties"], "identifier": {**kind, "sku": name}}}
        assert made(service, f"{gallery}/images/{name}", body)[0] == wanted, name


def test_two_at_once_do_not_both_take_the_last_place(with_quota: Opened) -> None:
    service = with_quota(Quota(most_resources_of_a_type=3))
    answers: list[int] = []
    threads = [
        threading.Thread(target=lambda name=name: answers.append(made(service, identity(name))[0]))
        for name in "abcdefgh"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(answers) == [201] * 3 + [409] * 5


def test_the_operators_numbers_are_those_of_the_store(tmp_path: Path) -> None:
    assert quota_of(Settings(tmp_path)) == Quota()
    few = Settings(tmp_path, most_resources=7, most_resource_mib=6, most_resource_groups=5, most_role_assignments=4)
    assert quota_of(few) == Quota(800, 5, 7, 6, 4)
