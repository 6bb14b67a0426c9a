"""The oracle that says "nothing was left" is itself tried: one thing of each class is left, and must be named."""

import json
import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from empty_world import World

LEFTOVERS = Path(__file__).with_name("leftovers.py")
CLASSES = [field.name for field in fields(World)]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the oracle said, by class, while one thing of it was left and after it was taken away."""
    command = ["unshare", "--user", "--map-root-user", "--net", "--mount", "--ipc", sys.executable, str(LEFTOVERS)]
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(LEFTOVERS.parents[1])}
    completed = subprocess.run(
        [*command, str(tmp_path_factory.mktemp("home"))], env=environment, capture_output=True, text=True, check=False
    )
    assert completed.returncode == 0, completed.stderr
    result: dict[str, Any] = json.loads(completed.stdout)
    return result


def test_every_class_is_tried(found: dict[str, Any]) -> None:
    assert set(found) == set(CLASSES)


@pytest.mark.parametrize("name", CLASSES)
def test_a_leftover_is_named(found: dict[str, Any], name: str) -> None:
    """Named while it is there, not any more when it is gone."""
    left = [line for line in found[name]["during"] if line.startswith(f"{name}: left behind: ")]
    assert left
    assert set(left) & set(found[name]["after"]) == set()
