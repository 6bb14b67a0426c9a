"""`vmkiln doctor` on this very machine: real namespaces, a real way out, a real guest."""

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.vm
TRIED = ("namespaces", "tap", "firewall", "way out", "container kernel")


def test_doctor_finds_a_machine_fit_that_was_set_up() -> None:
    asked = subprocess.run(
        [sys.executable, "-m", "vmkiln", "doctor", "--json"], capture_output=True, text=True, check=False
    )
    found = json.loads(asked.stdout)
    status = {finding["name"]: finding["status"] for finding in found["findings"]}
    assert [name for name in TRIED if status.get(name) != "ok"] == [], asked.stdout
    assert found["accelerator"]["accelerator"] in {"kvm", "tcg"}
    assert found["canBuild"], asked.stdout
    assert asked.returncode == 0
