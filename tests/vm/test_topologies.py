"""Real builds in subnets of a user's own: whom the build VM sees, what is made meanwhile, what the kernel counted."""

from dataclasses import dataclass
from typing import Any

import pytest
import tiers
from conftest import Told, Wanted, a_template, shell, told_at_once, unchanged_world

from vmkiln.host.network.network_rules import FILE_NAME, read_recorded
from vmkiln.preparation import opened_store
from vmkiln.run.run_event import LogLine, RunEvent
from vmkiln.settings import Settings
from vmkiln.staging.user_network import virtual_networks_of

pytestmark = pytest.mark.vm

GROUP = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/net/providers/Microsoft.Network"
NETWORK = f"{GROUP}/virtualNetworks/corp"
NO_TELNET = {
    "priority": 300,
    "direction": "Outbound",
    "access": "Deny",
    "protocol": "Tcp",
    "sourceAddressPrefix": "*",
    "sourcePortRange": "*",
    "destinationAddressPrefix": "Internet",
    "destinationPortRange": "23",
}
BODIES: list[dict[str, Any]] = [
    {
        "id": f"{GROUP}/networkSecurityGroups/nsg",
        "properties": {"securityRules": [{"name": "no-telnet", "properties": NO_TELNET}]},
    },
    {
        "id": NETWORK,
        "properties": {
            "addressSpace": {"addressPrefixes": ["172.16.0.0/16"]},
            "subnets": [
                {
                    "name": "images",
                    "properties": {
                        "addressPrefix": "172.16.8.0/24",
                        "networkSecurityGroup": {"id": f"{GROUP}/networkSecurityGroups/nsg"},
                        "privateLinkServiceNetworkPolicies": "Disabled",
                    },
                },
                {
                    "name": "aci",
                    "properties": {
                        "addressPrefix": "172.16.9.0/24",
                        "delegations": [{"properties": {"serviceName": "Microsoft.ContainerInstance/containerGroups"}}],
                    },
                },
            ],
        },
    },
]
LOOK = 'echo "seen ${SSH_CONNECTION%% *}"; echo "own $(hostname -I)"'
PRIVATE_LINK = {"privateEndpoints", "privateLinkServices", "loadBalancers"}


# where each puts the container group and the build VM, and what is made for it
TOPOLOGIES: dict[str, tuple[dict[str, str], tuple[str, str, set[str]]]] = {
    "private endpoint": ({"subnetId": "images"}, ("172.16.8.6", "172.16.8.7", {"virtualNetworks", *PRIVATE_LINK})),
    "user subnets": (
        {"subnetId": "images", "containerInstanceSubnetId": "aci"},
        ("172.16.9.4", "172.16.8.4", set()),
    ),
}

# a VM in a user's own network is booted where it stands: minutes under emulation, so one of them on most days
TRIED = tiers.one(list(TOPOLOGIES))


@dataclass
class Build:
    """What one of them told, and the rules that were on record while its build VM was asked."""

    kept: list[dict[str, Any]]
    told: Told


@pytest.fixture(scope="module")
def builds(prepared: Settings, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Build]:
    """A build in each, all at the same time: each has a network of its own, though the addresses overlap."""
    kept: dict[str, list[dict[str, Any]]] = {name: [] for name in TRIED}

    def wanted(name: str) -> Wanted:
        vnet_config, (_, own, _) = TOPOLOGIES[name]
        config = {key: f"{NETWORK}/subnets/{subnet}" for key, subnet in vnet_config.items()}

        def look(event: RunEvent, _task: Any) -> None:
            if isinstance(event, LogLine) and f"own {own}" in event.text:
                kept[name].extend(
                    filter(None, (read_recorded(file) for file in prepared.staging.glob(f"*/{FILE_NAME}")))
                )

        body = a_template(shell(LOOK), name=name.replace(" ", "-"), vmProfile={"vnetConfig": config})
        return Wanted(body, look, virtual_networks_of(BODIES))

    with unchanged_world(prepared):
        told = told_at_once(prepared, tmp_path_factory.mktemp("files"), *map(wanted, TRIED))
    return {name: Build(kept[name], one) for name, one in zip(TRIED, told, strict=True)}


@pytest.mark.parametrize("topology", TRIED)
def test_a_build_in_a_users_network(prepared: Settings, builds: dict[str, Build], topology: str) -> None:
    _, (seen, own, made) = TOPOLOGIES[topology]
    kept, told = builds[topology].kept, builds[topology].told
    assert told.error is None, told.error
    assert told.summary["facts"]["build-vm_went_on"] is False, "it was booted where it stands"
    text = "\n".join(told.log)
    assert f"seen {seen}" in text
    assert f"own {own}" in text
    with opened_store(prepared, print) as store:
        run = store.runs.find(told.run_id)
        types = {item.type.rpartition("/")[2] for item in store.staging.resources_of(run.staging_group)}
    assert types & {"virtualNetworks", *PRIVATE_LINK} == made
    assert "publicIPAddresses" not in types
    last = read_recorded(prepared.staging / run.staging_group / FILE_NAME)
    assert last is not None
    packets = {item["comment"]: item["packets"] for item in last["rules"]}
    assert packets["Inbound 65000 AllowVnetInBound"] >= 1
    assert packets["near guest to far guest"] >= 1
    assert any(item["run_id"] == told.run_id for item in kept), "the rules were there to see while the run lived"
