"""What reference() and resourceInfo() tell of a file's resources beyond what is written of them."""

from typing import Any

import pytest
from test_local_deployment import RG, SUBSCRIPTION, document, image, mistakes, nested, read

NETWORKS, VAULTS = "Microsoft.Network/virtualNetworks", "Microsoft.KeyVault/vaults"
NETWORK = {
    "type": NETWORKS,
    "apiVersion": "2023-04-01",
    "name": "net",
    "location": "westus2",
    "properties": {"subnets": [{"name": "build", "properties": {"addressPrefix": "10.0.0.0/24"}}]},
}


def tag(expression: str, **resources: Any) -> str:
    template = document({**resources, "t": image(tags={"x": f"[{expression}]"})}, languageVersion="2.0")
    return str(read(template).resolved["tags"]["x"])


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ({"resourceGroup": "rg-other"}, f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg-other"),
        ({"subscriptionId": "s2", "resourceGroup": "g2"}, "/subscriptions/s2/resourceGroups/g2"),
        ({"scope": "/subscriptions/s3/resourceGroups/g3"}, "/subscriptions/s3/resourceGroups/g3"),
        ({}, RG),
    ],
)
def test_what_exists_is_in_the_group_that_its_place_names(place: dict[str, str], expected: str) -> None:
    known = {"existing": True, "type": VAULTS, "apiVersion": "2023-07-01", "name": "kv", **place}
    assert tag("resourceInfo('kv').id", kv=known) == f"{expected}/providers/{VAULTS}/kv"


def test_what_exists_only_under_a_condition_is_not_looked_for_elsewhere() -> None:
    place = {"subscriptionId": "[split('//', '/')[2]]", "resourceGroup": "[split('////', '/')[4]]"}
    known = {"existing": True, "condition": False, "type": VAULTS, "apiVersion": "2023-07-01", "name": "kv", **place}
    assert tag("toUpper('read')", kv=known) == "READ"


def test_what_a_condition_leaves_out_and_is_there_all_the_same_may_be_given() -> None:
    known = {"condition": False, "type": VAULTS, "apiVersion": "2023-07-01", "name": "kv"}
    template = document({"kv": known, "t": image(tags={"x": "[reference('kv').uri]"})}, languageVersion="2.0")
    [told] = mistakes(template).values()
    assert "`kv` is left out, because of its condition" in told
    found = read(template, references=('kv={"uri": "https://kv.example"}',))
    assert found.resolved["tags"] == {"x": "https://kv.example"}


def test_subnets_of_a_network_of_the_file_have_ids() -> None:
    assert tag("reference('net').subnets[0].id", net=NETWORK) == f"{RG}/providers/{NETWORKS}/net/subnets/build"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resourceId", f"{RG}/providers/{NETWORKS}/net"),
        ("subscriptionId", SUBSCRIPTION),
        ("resourceGroupName", "rg"),
        ("apiVersion", "2023-04-01"),
    ],
)
def test_the_full_state_tells_where_a_resource_is(name: str, expected: str) -> None:
    assert tag(f"reference('net', '2023-04-01', 'full').{name}", net=NETWORK) == expected


def test_a_template_is_told_its_own_content_version() -> None:
    version = "deployment().properties.template.contentVersion"
    inner = nested("in", {**document([image(tags={"v": f"[{version}]"})]), "contentVersion": "7.0.0.1"})
    assert read(document([inner])).resolved["tags"]["v"] == "7.0.0.1"
    outer = nested("out", {**document([image(tags={"v": f"[{version}]"})]), "contentVersion": "7.0"}, scope="outer")
    assert read(document([outer])).resolved["tags"]["v"] == "1.0.0.0"
