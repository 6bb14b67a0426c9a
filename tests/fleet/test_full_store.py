"""A shared directory that is full fails no run: what is built is kept, and published when there is room again."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fleet.full_store import RUNS, SECONDS

SCRIPT = Path(__file__).with_name("full_store.py")
INSIDE = ["unshare", "--user", "--map-current-user", "--keep-caps", "--mount"]


@pytest.mark.long
def test_a_full_object_store_fails_no_run_and_leaves_nothing_torn(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("mounts as an ordinary user: use script/test")
    environment = {
        **os.environ,
        "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin",
        "PYTHONPATH": os.pathsep.join([str(SCRIPT.parents[1]), str(SCRIPT.parents[2])]),
    }
    command = [*INSIDE, sys.executable, str(SCRIPT), str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=4 * SECONDS)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert set(found["while_full"]) <= {"Succeeded", "Running", "Queued"}, "none had failed"
    assert found["states"] == {"Succeeded": RUNS}, found
    assert found["images"] == {"1": RUNS}
    assert found["parts"] == []
