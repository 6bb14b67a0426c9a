"""What of a host is refused to its runs' guests: addresses, and networks that it reaches without a gateway."""

import asyncio
import errno
import json
import socket
from ipaddress import IPv4Interface, IPv4Network
from typing import Any
from unittest import mock

import pytest

from vmkiln.errors import HostUnfit
from vmkiln.host.namespace import Namespace
from vmkiln.host.network import host_watch
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


async def why_it_ended(monkeypatch: pytest.MonkeyPatch, **what: Any) -> str:
    """Why a run ended whose host could not be watched any more."""
    for name, found in what.items():
        monkeypatch.setattr(host_watch, name, found)
    lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    with host_watch._told_of_changes() as changes:
        await asyncio.wait_for(host_watch._go_on(mock.Mock(spec=Namespace), changes, (), lost), 20)
    return lost.result()


async def test_a_run_ends_when_it_cannot_see_its_host_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    deaf = mock.AsyncMock(side_effect=OSError(errno.EBADF, "not heard"))
    assert "cannot be watched: [Errno 9] not heard" in await why_it_ended(monkeypatch, _message=deaf)
    blind = mock.AsyncMock(side_effect=HostUnfit("`ip` is not installed"))
    ended = await why_it_ended(monkeypatch, _message=mock.AsyncMock(), host_addresses=blind, SETTLE_SECONDS=0.0)
    assert "cannot be watched: `ip` is not installed" in ended


def test_a_host_without_room_for_another_socket_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socket", mock.Mock(side_effect=OSError(errno.EMFILE, "Too many open files")))
    with pytest.raises(HostUnfit, match=r"does not tell of changes .*: .*Too many open files"):
        host_watch._told_of_changes()


async def test_more_changes_than_fit_are_a_change_and_a_burst_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_watch, "SETTLE_SECONDS", 0.0)
    monkeypatch.setattr(host_watch, "LOOK_SECONDS", 30)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        ours.setblocking(False)
        for number in range(50):
            theirs.send(bytes([number]))
        await asyncio.wait_for(host_watch._told(ours), 10)
        with pytest.raises(BlockingIOError):
            ours.recv(1)
    too_many = OSError(errno.ENOBUFS, "no room")
    with mock.patch.object(asyncio.get_running_loop(), "sock_recv", mock.AsyncMock(side_effect=too_many)):
        await host_watch._message(ours)


async def test_without_a_word_the_host_is_looked_at_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_watch, "LOOK_SECONDS", 0.01)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        await asyncio.wait_for(host_watch._told(ours), 10)
