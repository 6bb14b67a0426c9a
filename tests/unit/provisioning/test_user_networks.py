"""The virtual network that a template names, found in the store and in files."""

import json
from pathlib import Path

import pytest

from vmkiln.cli.written.written_networks import read_virtual_networks
from vmkiln.errors import InputError
from vmkiln.provisioning.user_networks import virtual_networks_for
from vmkiln.store.database import opened
from vmkiln.store.rows import ResourceRow
from vmkiln.template.image_template import ImageTemplate
from vmkiln.template.template_file import read_image_template

PROVIDER = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/Net/providers/Microsoft.Network"
NETWORK, GROUP = f"{PROVIDER}/virtualNetworks/Corp", f"{PROVIDER}/networkSecurityGroups/Rules"
SUBNETS = [
    {"name": "build", "properties": {"addressPrefix": "10.1.0.0/24", "networkSecurityGroup": {"id": GROUP.lower()}}},
    {"name": "bare", "properties": {"addressPrefix": "10.1.1.0/24"}},
]
PROPERTIES = {"addressSpace": {"addressPrefixes": ["10.1.0.0/16"]}, "subnets": SUBNETS}


def a_template(vnet_config: dict[str, str]) -> ImageTemplate:
    body = {
        "location": "westeurope",
        "identity": {"type": "None"},
        "properties": {
            "source": {"type": "PlatformImage", "publisher": "p", "offer": "o", "sku": "s", "version": "latest"},
            "distribute": [{"type": "VHD", "runOutputName": "vhd"}],
            "vmProfile": {"vnetConfig": vnet_config},
        },
    }
    return read_image_template(json.dumps(body), file_name="t.json").image_template


def a_row(resource_id: str, properties: dict[str, object]) -> ResourceRow:
    kind, name = resource_id.split("/")[-2:]
    subscription = resource_id.split("/")[2]
    return ResourceRow(resource_id, f"Microsoft.Network/{kind}", name, subscription, "Net", properties=properties)


def test_a_network_is_found_in_any_case_with_the_groups_of_its_subnets(tmp_path: Path) -> None:
    with opened(tmp_path / "vmkiln.db") as store:
        store.resources.put(a_row(NETWORK, PROPERTIES))
        store.resources.put(a_row(GROUP, {"securityRules": []}))
        template = a_template(
            {"subnetId": f"{NETWORK.upper()}/subnets/BUILD".replace("VIRTUALNETWORKS", "virtualNetworks")}
        )
        found = virtual_networks_for(store, template)
    assert list(found) == [NETWORK.lower()]
    build, bare = found[NETWORK.lower()].subnets
    assert len(build.rules) == 6
    assert bare.rules == ()


def test_a_template_without_a_network_or_with_one_that_is_gone_finds_none(tmp_path: Path) -> None:
    with opened(tmp_path / "vmkiln.db") as store:
        assert virtual_networks_for(store, a_template({})) == {}
        assert virtual_networks_for(store, a_template({"subnetId": f"{NETWORK}/subnets/build"})) == {}


@pytest.mark.parametrize("wrap", [list, lambda bodies: {"value": bodies}], ids=["array", "value"])
def test_networks_are_read_from_files(tmp_path: Path, wrap: object) -> None:
    bodies = [{"id": NETWORK, "properties": PROPERTIES}, {"id": GROUP, "properties": {}}]
    together, apart = tmp_path / "all.json", [tmp_path / "network.json", tmp_path / "group.json"]
    assert callable(wrap)
    together.write_text(json.dumps(wrap(bodies)))
    for path, body in zip(apart, bodies, strict=True):
        path.write_text(json.dumps(body))
    assert read_virtual_networks([together]) == read_virtual_networks(apart)
    assert list(read_virtual_networks(apart)) == [NETWORK.lower()]
    assert read_virtual_networks(None) == {}


@pytest.mark.parametrize("text", ["{", "[1]", '"x"'])
def test_a_file_that_holds_no_resources_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "network.json"
    file.write_text(text)
    with pytest.raises(InputError, match="--virtual-networks"):
        read_virtual_networks([file])
