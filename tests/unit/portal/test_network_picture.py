"""A build's network as a picture."""

from vmkiln.portal.network_picture import Rule, Subnet, network_picture


def test_who_stands_in_which_subnet_and_what_the_firewall_counted() -> None:
    subnets = [
        {"name": "container-group", "properties": {"addressPrefix": "10.0.0.0/24"}},
        {"name": "build-vm", "properties": {"addressPrefix": "10.0.1.0/24"}},
    ]
    address = {"ipConfigurations": [{"properties": {"privateIPAddress": "10.0.1.4"}}]}
    counted = {"access": "Allow", "description": "tcp dport 22 accept", "packetCount": 7, "byteCount": 420}
    resources = [
        {"type": "Microsoft.Network/virtualNetworks", "name": "vnet", "properties": {"subnets": subnets}},
        {"type": "Microsoft.Network/networkInterfaces", "name": "build-vm-nic", "properties": address},
        {"type": "Microsoft.ContainerInstance/containerGroups", "name": "builder", "properties": {}},
        {
            "type": "Microsoft.Network/networkSecurityGroups",
            "name": "nsg",
            "properties": {"securityRules": [{"name": "ssh", "properties": counted}]},
        },
    ]
    picture = network_picture(resources)
    assert picture is not None
    assert picture.subnets == (
        Subnet("container-group", "10.0.0.0/24", ("builder",)),
        Subnet("build-vm", "10.0.1.0/24", ("build-vm 10.0.1.4",)),
    )
    assert picture.rules == (Rule("ssh", "Allow", "tcp dport 22 accept", 7, 420),)
    assert picture.has_private_endpoint is False


def test_without_a_network_there_is_no_picture() -> None:
    assert network_picture([{"type": "Microsoft.Storage/storageAccounts", "name": "a"}]) is None
