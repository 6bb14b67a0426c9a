"""What of a host is refused to its runs' guests: addresses, and networks that it reaches without a gateway."""

import json
from ipaddress import IPv4Interface, IPv4Network
from typing import Any

import pytest

from vmkiln.host.network.host_watch import not_yet_refused, parse_routes


@pytest.mark.parametrize(
    ("route", "found"),
    [
        ({"dst": "203.0.113.0/24", "dev": "lan0", "scope": "link"}, ["203.0.113.0/24"]),
        ({"type": "local", "dst": "203.0.113.9", "dev": "lan0"}, ["203.0.113.9/32"]),
        ({"dst": "203.0.113.0/24", "gateway": "198.51.100.1", "dev": "lan0"}, []),
        ({"dst": "203.0.113.0/24", "via": {"family": "inet6", "host": "fe80::1"}, "dev": "lan0"}, []),
        ({"dst": "default", "dev": "wg0", "scope": "link"}, []),
        ({"dst": "0.0.0.0/1", "dev": "tun0", "scope": "link"}, []),
        ({"dst": "8.0.0.0/8", "dev": "lan0", "scope": "link"}, ["8.0.0.0/8"]),
        ({"dst": "203.0.113.0/24", "nexthops": [{"gateway": "198.51.100.1"}]}, []),
    ],
)
def test_a_route_without_a_gateway_leads_to_neighbours(route: dict[str, Any], found: list[str]) -> None:
    assert [str(item) for item in parse_routes(json.dumps([route]))] == found


def test_without_routes_there_are_none() -> None:
    assert parse_routes("") == ()


def test_only_what_is_new_is_added() -> None:
    known = (IPv4Network("10.0.0.0/8"), IPv4Network("203.0.113.0/24"))
    now = [IPv4Interface("10.7.0.1/16"), IPv4Interface("203.0.113.9/24"), IPv4Interface("192.0.2.9/24")]
    new = not_yet_refused(known, now)
    assert IPv4Network("192.0.2.0/24") in new
    assert not any(network.subnet_of(wider) for network in new for wider in known)
