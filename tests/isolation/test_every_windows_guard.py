"""Teeth of a Windows run's network: what it has beside that of a Linux one, taken away piece by piece.

Its guest is given its address, and is worked on by WinRM. `test_every_guard.py` has all that both have.
"""

import time

import pytest
from guards import all_guards
from test_every_guard import HOST, RUN, Trial, Walls, reach
from test_given_address import ask_for_an_address, is_answered
from test_network_isolation import BUILD
from world_client import Probe, World, world

__all__ = ["world"]  # the fixture

PATIENCE_SECONDS = 30


def given(world: World) -> str:
    """Whether one question for an address is answered, before the answer to a mark that was sent behind it."""
    world.forget_traffic()
    ask_for_an_address(world, RUN)
    return "given" if is_answered(world, RUN) else "silent"


def false_addresses(world: World) -> str:
    """Whether the answer to a guest's question is counted among the packets with a false address."""
    given(world)
    counts = {rule["comment"]: rule["packets"] for rule in world.ask("rules", name=RUN)}
    return "counted" if counts["far guest with a false address"] else "none"


TRIALS = {
    "far guest without an address yet": Trial(given, "given", "silent"),
    "requests for an address": Trial(given, "given", "silent"),
    "address of the far guest": Trial(given, "given", "silent"),
    "copies of own answers": Trial(false_addresses, "none", "counted"),
}
WINRM = Trial(reach("container", "tcp", BUILD, 5986), f"open build {RUN}", "unreachable")


@pytest.fixture(scope="module")
def walls(world: World) -> Walls:
    """The walls of one run of Windows."""
    world.ask("close_run", name=RUN)
    return Walls(world, is_windows=True)


def seen(world: World, trial: Trial, wanted: str) -> str:
    """What is observed, which may take more than one question: answers are given by a program of its own."""
    until = time.monotonic() + PATIENCE_SECONDS
    while (found := trial.observe(world)) != wanted and time.monotonic() < until:
        pass
    return found


def test_every_guard_that_only_a_windows_run_has_has_a_test() -> None:
    assert all_guards(HOST, is_windows=True) - all_guards(HOST) == TRIALS.keys()


@pytest.mark.parametrize("guard", TRIALS)
def test_a_guard_of_a_windows_run_is_missed_when_it_is_gone(walls: Walls, guard: str) -> None:
    trial = TRIALS[guard]
    with walls.loosened(trial, (guard,)):
        assert seen(walls.world, trial, trial.unguarded) == trial.unguarded
    with walls.loosened(trial, ()):
        assert seen(walls.world, trial, trial.guarded) == trial.guarded


def test_the_group_reaches_winrm_of_a_windows_vm_and_no_other_port(walls: Walls) -> None:
    with walls.loosened(WINRM, ()):
        assert WINRM.observe(walls.world) == WINRM.guarded
        others = [Probe(f"container {RUN}", "tcp", BUILD, port) for port in (22, 80, 8080)]
        assert set(walls.world.probe(others, seconds=2).values()) == {"unreachable"}
    with walls.loosened(WINRM, ("near guest to far guest",)):
        assert WINRM.observe(walls.world) == WINRM.unguarded
