"""ARM bodies of a user's network, as clients send them: one virtual network, a security group for each subnet."""

from typing import Any

GROUP = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/net/providers/Microsoft.Network"
NETWORK = f"{GROUP}/virtualNetworks/corp"
BUILD_SUBNET, CONTAINER_SUBNET = f"{NETWORK}/subnets/build", f"{NETWORK}/subnets/aci"
USER_SUBNETS = {"subnetId": BUILD_SUBNET, "containerInstanceSubnetId": CONTAINER_SUBNET}
PRIVATE_ENDPOINT = {"subnetId": BUILD_SUBNET}
# overlaps the addresses that runs without a user's network have
SPACE, BUILD_PREFIX, CONTAINER_PREFIX = "10.0.0.0/16", "10.0.2.0/24", "10.0.3.0/26"


def rule(name: str, priority: int, direction: str, access: str, **properties: Any) -> dict[str, Any]:
    """A rule for everything, but for what is given."""
    every = {
        "protocol": "*",
        "sourceAddressPrefix": "*",
        "sourcePortRange": "*",
        "destinationAddressPrefix": "*",
        "destinationPortRange": "*",
    }
    for given in properties:  # given in the plural: then not in the singular
        every.pop(given.removesuffix("es") if given.endswith("Prefixes") else given.removesuffix("s"), None)
    own = {"priority": priority, "direction": direction, "access": access}
    return {"name": name, "properties": {**every, **own, **properties}}


def bodies(
    *,
    build_rules: list[dict[str, Any]] | None = None,
    container_rules: list[dict[str, Any]] | None = None,
    build: dict[str, Any] | None = None,
    container: dict[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """The network and its groups; `build` and `container` replace properties of the subnets."""
    groups = [
        {"id": f"{GROUP}/networkSecurityGroups/{name}-nsg", "properties": {"securityRules": rules or []}}
        for name, rules in (("build", build_rules), ("aci", container_rules))
    ]
    delegation = {"name": "aci", "properties": {"serviceName": "Microsoft.ContainerInstance/containerGroups"}}
    subnets = [
        {
            "name": "build",
            "properties": {
                "addressPrefix": BUILD_PREFIX,
                "networkSecurityGroup": {"id": groups[0]["id"]},
                "privateLinkServiceNetworkPolicies": "Disabled",
                **(build or {}),
            },
        },
        {
            "name": "aci",
            "properties": {
                "addressPrefixes": [CONTAINER_PREFIX],
                "networkSecurityGroup": {"id": str(groups[1]["id"]).upper()},
                "delegations": [delegation],
                **(container or {}),
            },
        },
    ]
    network = {"id": NETWORK, "properties": {"addressSpace": {"addressPrefixes": [SPACE]}, "subnets": subnets}}
    return [*groups, network]


ALLOW_ALL = [rule("in", 100, "Inbound", "Allow"), rule("out", 100, "Outbound", "Allow")]
