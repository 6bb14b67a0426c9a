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
