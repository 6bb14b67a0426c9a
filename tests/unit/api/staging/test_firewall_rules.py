"""The firewall of a build as Azure's security rules: what the kernel lists of the real rules, read by an auditor."""

import re
import subprocess
from dataclasses import asdict
from ipaddress import IPv4Interface, IPv4Network
from typing import Any

import pytest

from vmkiln.api.staging.firewall_rules import default_rules, other_rules, security_rules
from vmkiln.host.network.network_namespace import Allowance, firewall
from vmkiln.host.network.network_rules import described, parse_rules
from vmkiln.staging.virtual_network import decide


@pytest.fixture(scope="module")
def rules() -> dict[str, dict[str, Any]]:
    """The rules of a build with one allowance, as the kernel has them, by their names."""
    own = decide(
        [IPv4Interface("192.0.2.2/24")], is_windows=False, allowances=(Allowance(IPv4Network("10.9.0.0/16"), 8080),)
    )
    listed = subprocess.run(
        ["unshare", "--map-root-user", "--net", "sh", "-c", "nft -f - && nft list ruleset"],
        input=firewall(own.network, resolver=7, proxy=8),
        capture_output=True,
        text=True,
        check=True,
    )
    network = described(own.network)
    found = security_rules(
        [asdict(rule) for rule in parse_rules(listed.stdout)],
        subnets=network["subnets"],
        forbidden=network["forbidden"],
        inside=network["inside"],
    )
    return {rule["name"]: rule["properties"] for rule in found}


def test_the_one_way_into_the_build_vm_reads_as_azure_writes_it(rules: dict[str, dict[str, Any]]) -> None:
    inbound = {name: rule for name, rule in rules.items() if rule["direction"] == "Inbound"}
    rule = inbound["near-guest-to-far-guest"]
    assert rule["access"] == "Allow"
    assert rule["protocol"] == "Tcp"
    assert rule["sourceAddressPrefix"] == "10.0.0.0/24"
    assert rule["destinationAddressPrefix"] == "10.0.1.4"
    assert rule["destinationPortRange"] == "22"
    assert sorted(inbound) == ["answers-of-the-resolver", "near-guest-to-far-guest"], "its own resolver answers it"


def test_what_is_refused_or_allowed_by_setting_names_its_addresses(rules: dict[str, dict[str, Any]]) -> None:
    refused = rules["host-private-and-link-local"]
    assert refused["access"] == "Deny"
    assert "169.254.0.0/16" in refused["destinationAddressPrefixes"]
    assert "destinationAddressPrefix" not in refused
    allowed = rules["allowed-by-setting"]
    ends = (allowed["destinationAddressPrefix"], allowed["destinationPortRange"], allowed["sourceAddressPrefix"])
    assert (allowed["access"], *ends) == ("Allow", "10.9.0.0/16", "8080", "10.0.1.0/24")
    assert allowed["priority"] < refused["priority"]


def test_names_are_azures_and_only_what_decides_is_a_rule(rules: dict[str, dict[str, Any]]) -> None:
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,79}", name) for name in rules)
    assert all(re.search(r"\b(accept|drop|reject)\b", rule["description"]) for rule in rules.values())
    assert "to-the-router-itself" not in rules, "it only counts"


def test_all_the_rest_is_denied_both_ways_and_last(rules: dict[str, dict[str, Any]]) -> None:
    last = default_rules()
    assert [rule["name"] for rule in last] == ["DenyAllInBound", "DenyAllOutBound"]
    assert all(rule["properties"]["access"] == "Deny" for rule in last)
    assert max(rule["priority"] for rule in rules.values()) < last[0]["properties"]["priority"]


def test_a_condition_that_azure_cannot_say_is_in_the_description_only() -> None:
    text = 'iifname "near" ip saddr != 10.0.0.4 drop'
    (rule,) = security_rules([{"comment": "x", "expression": text}], subnets={}, forbidden=(), inside="far")
    assert rule["properties"]["sourceAddressPrefix"] == "*"
    assert (rule["properties"]["description"], rule["properties"]["protocol"]) == (text, "*")


def test_rules_of_one_comment_have_names_of_their_own() -> None:
    twice = [{"comment": "same words", "expression": "accept"}] * 2
    found = security_rules(twice, subnets={}, forbidden=(), inside="far")
    assert [rule["name"] for rule in found] == ["same-words", "same-words-2"]


def test_what_translates_or_is_left_to_the_policy_stands_apart() -> None:
    rules = [
        {"comment": "to the router itself", "expression": "", "policy": "drop", "packets": 7},
        {"comment": "ports", "expression": 'oifname "egress" masquerade to :1024-65535', "policy": "accept"},
        {"comment": "names", "expression": "accept", "policy": "drop"},
        {"comment": "asks", "expression": "jump user_leaving", "policy": "accept"},
        {"comment": "of an ended run"},
    ]
    found = [(rule["name"], rule["properties"]["access"]) for rule in other_rules(rules)]
    assert found == [("to-the-router-itself", "Deny"), ("ports", "Translate")]
    assert other_rules(rules)[0]["properties"]["packetCount"] == 7
