"""A build's network as a picture."""

from typing import Any

from vmkiln.portal.runs.network_picture import Guest, Rule, Subnet, last_run_of, network_picture

SUBNETS = [
    {"name": "container-group", "properties": {"addressPrefix": "10.0.0.0/24"}},
    {"name": "build-vm", "properties": {"addressPrefix": "10.0.1.0/24"}},
]


def a_rule(name: str, access: str, packets: int) -> dict[str, Any]:
    return {
        "name": name,
        "properties": {"access": access, "description": "text", "packetCount": packets, "byteCount": 60 * packets},
    }


def a_nic(name: str) -> dict[str, Any]:
    address = {"ipConfigurations": [{"properties": {"privateIPAddress": "10.0.1.4"}}]}
    return {"id": f"/NICS/{name}", "type": "Microsoft.Network/networkInterfaces", "name": name, "properties": address}


def a_container(number: int) -> dict[str, Any]:
    state = {"startTime": f"2026-01-0{number}T00:00:00Z", "finishTime": f"2026-01-0{number}T01:00:00Z"}
    return {
        "id": f"/GROUPS/{number}",
        "type": "Microsoft.ContainerInstance/containerGroups",
        "name": f"builder-{number}",
        "properties": {"containers": [{"properties": {"instanceView": {"currentState": state}}}]},
    }


def resources() -> list[dict[str, Any]]:
    """Those of seven runs: the last one validates."""
    rules = {
        "securityRules": [
            a_rule("near-guest-to-far-guest", "Allow", 7),
            a_rule("far-guest-to-the-Internet", "Allow", 5),
            a_rule("everything-else", "Deny", 2),
        ],
        "otherRules": [a_rule("ports", "Translate", 3), a_rule("to-the-router-itself", "Deny", 1)],
    }
    machine = {"timeCreated": "2026-01-07T00:00:00Z", "vmId": "the-run"}
    return [
        {"type": "Microsoft.Network/virtualNetworks", "name": "vnet", "properties": {"subnets": SUBNETS}},
        a_nic("build-vm-nic"),
        a_nic("validation-vm-nic"),
        {"type": "Microsoft.Compute/virtualMachines", "name": "build-vm", "properties": machine},
        *(a_container(number) for number in range(1, 8)),
        {"type": "Microsoft.Network/networkSecurityGroups", "name": "nsg", "properties": rules},
    ]


def test_only_what_stands_now_is_in_the_picture_and_what_is_gone_below() -> None:
    picture = network_picture(resources(), present={"/nics/validation-vm-nic", "/groups/7"})
    assert picture is not None
    times = ("2026-01-07T00:00:00Z", "2026-01-07T01:00:00Z")
    assert picture.subnets == (
        Subnet("container-group", "10.0.0.0/24", (Guest("builder-7", "", False, *times),)),
        Subnet("build-vm", "10.0.1.0/24", (Guest("validation-vm", "10.0.1.4", False),)),
    )
    assert [guest.name for guest in picture.gone][:3] == ["build-vm", "builder-6", "builder-5"]
    assert picture.has_private_endpoint is False
    assert last_run_of(resources()) == "the-run"
    ended = network_picture(resources())
    assert ended is not None
    assert [subnet.inside for subnet in ended.subnets] == [(), ()]


def test_verdicts_are_the_rules_own_and_arrows_count() -> None:
    picture = network_picture(resources())
    assert picture is not None
    assert [rule.access for rule in picture.counted] == ["Translate", "Deny"]
    assert picture.into_the_vm == Rule("near-guest-to-far-guest", "Allow", "", 7, 420)
    assert picture.outward == Rule("far-guest-to-the-Internet", "Allow", "", 5, 300)
    assert picture.denied_packets == 3


def test_refused_attempts_say_who_tried_what() -> None:
    flow = {"time": "t", "vm": "build-vm", "step": "install", "name": "", "address": "10.0.0.1", "port": 443}
    flow |= {"protocol": "tcp", "packets_out": 3, "verdict": "refused"}
    question = {**flow, "protocol": "dns", "name": "evil.example", "port": 53, "verdict": "refused by the policy"}
    picture = network_picture(resources(), flows=[{**flow, "verdict": "allowed"}, flow, question])
    assert picture is not None
    assert [(item.target, item.vm, item.packets) for item in picture.refused] == [
        ("10.0.0.1:443", "build-vm", 3),
        ("evil.example", "build-vm", 3),
    ]


def test_without_a_network_there_is_no_picture() -> None:
    assert network_picture([{"type": "Microsoft.Storage/storageAccounts", "name": "a"}]) is None
