"""A failed VM of a service's run is entered from another machine, which has a login and nothing else.

Every fourth day; with an sshd in place of the VM it is tried every day (`tests/fleet/test_shell_through_service.py`).
"""

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import VMKILN, unchanged_world
from test_clients_build import BUILD_SECONDS, GROUP, a_template, serving

from vmkiln.cli.contexts import Context, Contexts, write_contexts
from vmkiln.settings import Settings

pytestmark = pytest.mark.vm
SECONDS = 300


def test_a_failed_vm_of_a_service_is_entered_from_another_machine(
    prepared: Settings, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    body = a_template("held")
    body["properties"]["customize"] = [
        {"type": "Shell", "name": "fails", "inline": ["echo seen > /dev/shm/in-memory", "exit 7"]}
    ]
    body["properties"]["errorHandling"] = {"onCustomizerError": "abort"}
    (tmp_path / "held.json").write_text(json.dumps(body))
    with unchanged_world(prepared), serving(prepared, tmp_path) as az:
        az("image", "builder", "create", "-g", GROUP, "-n", "held", "--image-template", str(tmp_path / "held.json"))
        az("image", "builder", "run", "-g", GROUP, "-n", "held", "--no-wait")
        ended = ("--custom", "!starts_with(lastRunStatus.endTime, '0001')", "--interval", "3")
        where = ("image", "builder", "wait", "-g", GROUP, "-n", "held", *ended)
        assert az.run(*where, seconds=BUILD_SECONDS).returncode == 0
        service = prepared.home / "service"
        owner = json.loads((service / "owner.json").read_text())
        url, authority = (service / "endpoint").read_text().strip(), (service / "tls/ca.pem").read_text()
        context = Context(url, authority, owner["appId"], owner["password"])
        write_contexts(tmp_path / "config/vmkiln/contexts.json", Contexts().with_context("kiln", context))
        laptop = {
            **os.environ,
            "VMKILN_HOME": str(tmp_path / "laptop"),
            "XDG_CONFIG_HOME": str(tmp_path / "config"),
        }

        def vmkiln(*words: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [*VMKILN, *words], capture_output=True, text=True, timeout=SECONDS, check=False, input=stdin, env=laptop
            )

        run = az("rest", "--method", "get", "--url", f"{url}/providers/Vmkiln.Builds/runs?api-version=2024-03-01")
        run_id = next(one["name"] for one in run["value"] if one["properties"]["heldUntil"])
        began = time.monotonic()
        inside = vmkiln("run", "shell", run_id[:8], "cat /dev/shm/in-memory; hostname; cat; exit 5", stdin="typed\n")
        record_property("seconds_of_a_visit", time.monotonic() - began)
        assert (inside.returncode, inside.stdout) == (5, "seen\nbuild-vm\ntyped\n"), inside.stderr
        assert "the host that holds the failed VM wakes it" in inside.stderr
        assert vmkiln("run", "shell", run_id[:8], "echo more > /dev/shm/more").returncode == 0
        again = vmkiln("run", "shell", run_id[:8], "cat /dev/shm/more")
        assert again.stdout == "more\n", again.stderr
        assert not (tmp_path / "laptop/visits").exists() or not list((tmp_path / "laptop/visits").iterdir())
