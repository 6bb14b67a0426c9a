"""Many lives of image templates, a third of them troubled: each run ends once, and nothing grows or is left."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiers
from faults import soak
from turns import ON_ODD_DAYS

pytestmark = ON_ODD_DAYS

MOST_GROWTH = 1.05
MOST_SECONDS = 600 if tiers.tier() is tiers.SHORT else 3600
TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A folder in memory where there is one: they commit often."""
    memory = Path("/dev/shm")
    directory = Path(tempfile.mkdtemp(prefix="vmkiln-soak-", dir=memory if memory.is_dir() else None))
    home = directory / "home"  # its keys lie beside it
    home.mkdir(mode=0o700)
    yield home
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def found(home: Path) -> dict[str, Any]:
    """What was seen; see `soak.py`."""
    environment = {**os.environ, "PYTHONPATH": f"{TESTS}:{TESTS.parent}"}
    command = [sys.executable, "-m", "faults.soak", str(home)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=MOST_SECONDS)
    assert done.returncode == 0, done.stderr[-4000:]
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.mark.timeout(MOST_SECONDS)
def test_each_run_ends_once_whatever_happens_to_it(found: dict[str, Any]) -> None:
    assert found["runs"] == found["ended_once"] == sum(count for _, _, count in found["outcomes"]) == soak.LIVES
    assert {name for name, _, _ in found["outcomes"]} == {"", *soak.TROUBLES}, "each trouble was met"
    assert found["changed_after_their_end"] == []


@pytest.mark.parametrize("what", ["descriptors", "threads"])
def test_after_the_first_lives_none_is_added(found: dict[str, Any], what: str) -> None:
    assert found["last"][what] == found["first"][what]
    assert sum(found["last"][what].values()) > 0


@pytest.mark.parametrize("what", ["resident_bytes", "python_blocks"])
def test_after_the_first_lives_memory_does_not_grow(found: dict[str, Any], what: str) -> None:
    assert 0 < found["last"][what] < found["first"][what] * MOST_GROWTH


def test_nothing_is_left(found: dict[str, Any]) -> None:
    assert found["left"] == []
    assert "vmkiln_leftovers 0.0" in found["metrics"]
