"""A fleet whose hosts are killed, frozen and cut off, and whose database is restarted, loses and doubles nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tiers
from fleet.chaos import MOST_SECONDS, MOST_TAKE_OVER_SECONDS
from fleet.small_fleet import DATABASE_WAS_AWAY

CHAOS = Path(__file__).with_name("chaos.py")
RUNS, ROUNDS = tiers.tier().chaos_runs, tiers.tier().chaos_rounds
SECONDS = 160 + MOST_SECONDS
INSIDE = ["unshare", "--user", "--map-current-user", "--keep-caps", "--net", "--mount"]
SLACK_SECONDS = 30.0  # of a busy machine, on top of what the lease and the looks take


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What was seen while everything died; see `chaos.py`."""
    if os.geteuid() == 0:
        pytest.skip("makes namespaces as an ordinary user: use script/test")
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    python_path = os.pathsep.join([str(CHAOS.parents[1]), str(CHAOS.parents[2])])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": python_path}
    command = [*INSIDE, sys.executable, str(CHAOS), str(tmp_path_factory.mktemp("fleet")), str(RUNS), str(ROUNDS)]
    completed = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=SECONDS)
    assert completed.returncode == 0, completed.stderr[-3000:]
    result: dict[str, Any] = json.loads(completed.stdout)
    return result


def test_every_kind_of_fault_met_runs(found: dict[str, Any]) -> None:
    for kind in ("kill -9", "frozen", "cut off", "database restarted"):
        assert sum(met for fault, met, _ in found["faults"] if fault == kind) > 0, f"{kind} met nothing: {found}"
    assert sum(count for attempt, count in found["attempts"].items() if int(attempt) > 1) > 0


def test_no_run_is_lost_and_none_ends_twice(found: dict[str, Any]) -> None:
    assert found["states"] == {"Succeeded": RUNS}, found["messages"]
    assert found["outputs"] == {"1": RUNS}
    assert found["kept_at_the_end"] == 0


def test_no_image_is_published_twice_and_none_is_lost(found: dict[str, Any]) -> None:
    assert found["images"] == {"1": RUNS}
    assert found["strangers"] == []
    assert found["objects"] == RUNS


def test_no_host_keeps_more_room_than_it_has(found: dict[str, Any]) -> None:
    assert found["most_cpus"] <= 4
    assert found["most_at_once"] <= found["room_for"]


def test_what_a_dead_frozen_or_cut_off_host_had_is_taken_over(found: dict[str, Any]) -> None:
    """A host that stops in the middle of a transaction has the writers' lock until PostgreSQL ends that."""
    for fault in ("kill -9", "frozen", "cut off"):
        taken = [seconds for name, met, seconds in found["faults"] if name == fault and met]
        assert min(taken) <= 2 * found["lease_seconds"] + SLACK_SECONDS, fault
        assert max(taken) <= MOST_TAKE_OVER_SECONDS, fault


def test_a_host_that_lost_its_lease_ends_itself(found: dict[str, Any]) -> None:
    assert found["exits"].get("3", 0) > 0, "a frozen or cut off worker ended with the status of a lost lease"
    assert set(found["exits"]) <= {"3", "-9", DATABASE_WAS_AWAY}, "none ended in another way"


def test_nothing_is_left_on_any_host(found: dict[str, Any]) -> None:
    assert found["left"] == []
