"""A guest that asks for its address is given it in a Windows run, by a program in a jail; in any other by nobody."""

import time
from collections.abc import Iterator

import frames
import pytest
from test_network_isolation import BUILD_MAC, PUBLIC
from world_client import Probe, World, world

from vmkiln.host.addressing.dhcp_message import COOKIE, HEADER, Kind

__all__ = ["world"]  # the fixture

ZERO = bytes(4)
PATIENCE_SECONDS = 30
ANSWER = "udp 10.0.1.1 > 255.255.255.255:68"


@pytest.fixture(name="windows", scope="module")
def windows_(world: World) -> Iterator[str]:
    world.ask("open_run", name="windows", is_windows=True)
    yield "windows"
    if "build windows" in world.ask("names"):
        world.ask("close_run", name="windows")


def ask_for_an_address(world: World, run: str, *, asker: str = BUILD_MAC) -> None:
    """Put DHCP's first question on the wire, for a guest with a MAC."""
    header = HEADER.pack(1, 1, 6, 0, 1, 0, 0, ZERO, ZERO, ZERO, ZERO, bytes.fromhex(asker.replace(":", "")), COOKIE)
    question = header + bytes([53, 1, Kind.DISCOVER, 255])
    packet = frames.udp("0.0.0.0", "255.255.255.255", ports=(68, 67), data=question)
    frame = frames.ethernet(frames.BROADCAST, BUILD_MAC, packet)
    world.node(f"build {run}", "send", interface="eth0", frame=frame)


def is_answered(world: World, run: str) -> bool:
    """Whether an answer comes; it does not wait for one longer than a mark takes that was sent behind the question."""
    world.probe([Probe(f"build {run}", "udp", PUBLIC, 80)])
    return ANSWER in world.arrived(f"build {run}")


def test_a_windows_guest_is_given_its_address(world: World, windows: str) -> None:
    world.forget_traffic()
    until = time.monotonic() + PATIENCE_SECONDS
    ask_for_an_address(world, windows)
    while not is_answered(world, windows):
        assert time.monotonic() < until
        ask_for_an_address(world, windows)


def test_nobody_gives_a_linux_guest_an_address(world: World, windows: str) -> None:
    world.forget_traffic()
    ask_for_an_address(world, "one")
    assert not is_answered(world, "one")
    assert "dhcp_program" not in world.inside("one", "sh", "-c", "cat /proc/[0-9]*/comm")
    assert "dhcp_program" in world.inside(windows, "sh", "-c", "cat /proc/[0-9]*/comm")


def test_a_question_in_anothers_name_is_not_answered(world: World, windows: str) -> None:
    world.forget_traffic()
    ask_for_an_address(world, windows, asker="02:00:0a:00:00:99")
    assert not is_answered(world, windows)


def test_a_windows_run_ends_when_nobody_gives_addresses_any_more(world: World, windows: str) -> None:
    world.ask("end_inside", name=windows, words="dhcp_program")
    assert "address service" in world.ask("egress_lost", name=windows)
