"""Locations: nothing new is made in one that nobody has; what is there goes on."""

from dataclasses import replace
from typing import Any

import pytest
from in_process import GROUP, SUBSCRIPTION, TEMPLATE, InProcess, a_template, add_group, code_of

from vmkiln.store.rows import HostRow

GROUPS = f"/subscriptions/{SUBSCRIPTION}/resourceGroups"
NOWHERE: dict[str, Any] = {"location": "nowhereland", "properties": {}}


def test_no_group_is_made_where_nobody_is(service: InProcess) -> None:
    refused = service.put(f"{GROUPS}/g", NOWHERE)
    assert (refused.status_code, code_of(refused)) == (400, "LocationNotAvailableForResourceGroup")
    assert "The provided location 'nowhereland' is not available for resource group" in refused.text
    assert "VMKILN_MORE_LOCATIONS" in refused.text
    assert service.request("HEAD", f"{GROUPS}/g").status_code == 404
    for wide in ("europe", "global"):
        assert service.put(f"{GROUPS}/g", {"location": wide}).status_code == 400


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("Microsoft.VirtualMachineImages/imageTemplates/web", a_template()),
        ("Microsoft.Compute/galleries/gal", {}),
        ("Microsoft.ManagedIdentity/userAssignedIdentities/ident", {}),
        (
            "Microsoft.Network/virtualNetworks/net",
            {"properties": {"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}}},
        ),
        ("Microsoft.Storage/storageAccounts/anaccount", {"sku": {"name": "Standard_LRS"}, "kind": "StorageV2"}),
    ],
)
def test_no_resource_is_made_where_nobody_is(service: InProcess, name: str, body: dict[str, Any]) -> None:
    add_group(service)
    path = f"{GROUP}/providers/{name}"
    refused = service.put(path, {**body, "location": "nowhereland"})
    assert (refused.status_code, code_of(refused)) == (400, "LocationNotAvailableForResourceType")
    assert service.get(path).status_code == 404
    assert service.put(path, {**body, "location": "West US 2"}).status_code in {200, 201, 202}


def test_no_image_goes_where_nobody_is(service: InProcess) -> None:
    add_group(service)
    target = {"type": "VHD", "runOutputName": "v"}
    gallery = f"{GROUP}/providers/Microsoft.Compute/galleries/gal/images/web"
    shared = {"type": "SharedImage", "runOutputName": "s", "galleryImageId": gallery}
    refused = service.put(
        TEMPLATE, a_template(distribute=[target, {**shared, "replicationRegions": ["westus2", "xxx"]}])
    )
    assert refused.status_code == 400
    assert refused.json()["error"]["details"][0]["target"] == "properties.distribute[1].replicationRegions[1]"
    assert "`xxx` is no location" in refused.text
    own = a_template(distribute=[target, {**shared, "targetRegions": [{"name": "Attic"}]}])
    settings = service.service.settings
    service.service.__dict__["settings"] = replace(settings, more_locations="attic")
    assert service.put(TEMPLATE, own).status_code == 201
    service.service.__dict__["settings"] = settings
    assert service.put(TEMPLATE, own).status_code != 400, "what is there goes on"


def test_a_deployment_is_refused_before_anything_is_made_where_nobody_is(service: InProcess) -> None:
    add_group(service)
    identity = {"type": "Microsoft.ManagedIdentity/userAssignedIdentities", "apiVersion": "2023-01-31"}
    nested = {"mode": "Incremental", "template": {"resources": [{**identity, "name": "one", "location": "eastland"}]}}
    inner = {"type": "Microsoft.Resources/deployments", "apiVersion": "2022-09-01", "name": "d", "properties": nested}
    places = {"a": "[resourceGroup().location]", "b": "[concat('nowhere', 'land')]"}
    resources = [*({**identity, "name": f"id{name}", "location": place} for name, place in places.items()), inner]
    body = {"properties": {"mode": "Incremental", "template": {"resources": resources}}}
    deployment = f"{GROUP}/providers/Microsoft.Resources/deployments/d"
    refused = service.request("POST", f"{deployment}/validate", body)
    assert (refused.status_code, code_of(refused)) == (400, "InvalidTemplate")
    targets = [item["target"] for item in refused.json()["error"]["details"]]
    assert targets == ["resources[1].location", "resources[2].properties.template.resources[0].location"]
    assert service.get(f"{GROUP}/resources").json()["value"] == []


def test_hosts_the_operator_and_the_group_have_locations_of_their_own(service: InProcess) -> None:
    store = service.service.store
    host = HostRow("i", "h", "w", "x64", "", "Cellar 2", cpus=1, memory_mib=1, disk_mib=1)
    store.hosts.register(host, lease_seconds=3600)
    assert service.put(f"{GROUPS}/a", {"location": "cellar2"}).status_code == 201
    settings = replace(service.service.settings, more_locations="attic, Roof Top")
    service.service.__dict__["settings"] = settings
    for number, location in enumerate(("attic", "rooftop")):
        assert service.put(f"{GROUPS}/b{number}", {"location": location}).status_code == 201
    service.service.__dict__["settings"] = replace(settings, more_locations="")
    inside = TEMPLATE.replace("/rg1/", "/b0/")
    assert service.put(inside, {**a_template(), "location": "Attic"}).status_code == 201
    assert service.put(f"{GROUPS}/b0", {"location": "attic", "tags": {"a": "b"}}).status_code == 200
    assert service.put(f"{GROUPS}/c", {"location": "attic"}).status_code == 400
