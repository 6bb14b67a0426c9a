"""A failed VM is put on disk, entered by its user as it was, and let go; nothing of it is left.

On every other day; what is sealed, entered and let go is tried every day with a VM that boots nothing
(`tests/isolation/test_leased_vm.py`), and without one (`tests/unit/run/held`).
"""

import json
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import VMKILN, a_template, shell
from turns import ON_EVEN_DAYS

from vmkiln.run.held import lease
from vmkiln.settings import Settings
from vmkiln.staging import run_directory

pytestmark = [pytest.mark.vm, pytest.mark.usefixtures("world")]
LONGEST_SECONDS = 900
MARK = b"planted-" + b"4711" * 5  # spelled otherwise in the template, which is on record
STEP = (
    "printf 'planted-%s\\n' 47114711471147114711 | tee /dev/shm/in-memory | sudo tee /root/on-disk > /dev/null; "
    "sync; sudo systemd-run --quiet sleep 98765; exit 7"
)


def vmkiln(*words: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*VMKILN, *words], capture_output=True, text=True, timeout=LONGEST_SECONDS, check=False, input=stdin
    )


def told(done: subprocess.CompletedProcess[str]) -> str:
    return f"{done.returncode}: {done.stdout}{done.stderr}"


def left(run_id: str) -> set[str]:
    """What of a run nobody has seen to be gone, but for its storage account."""
    receipts = json.loads(vmkiln("run", "receipts", run_id, "--json").stdout)
    return {one["name"] for one in receipts if not one["verified_gone"] and "storageAccounts" not in one["type"]}


@ON_EVEN_DAYS
def test_a_failed_vm_outlives_its_build_and_is_entered_and_let_go(
    prepared: Settings, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    template = tmp_path / "failing.json"
    template.write_text(json.dumps(a_template(shell(STEP), name="held")))
    words = [*VMKILN, "build", str(template), "--on-error", "hold", "--hold-for", "30", "--progress", "plain"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        lines = [(time.monotonic(), line) for line in process.stdout]
    build = "".join(line for _, line in lines)
    assert process.returncode == 1, build
    found = re.search(r"is held until .*on disk .*`vmkiln run shell ([0-9a-f]+)` enters it", build)
    assert found, build
    run_id = found[1]
    failed = next(moment for moment, line in lines if "exit status: 7" in line or "with exit status 7" in line)
    began = time.monotonic()
    inside = vmkiln(
        "run",
        "shell",
        run_id,
        "cat /dev/shm/in-memory; pgrep -f 'sleep 9876[5]' | wc -l; hostname; cat; exit 5",
        stdin="typed\n",
    )
    seconds = time.monotonic() - began
    record_property("seconds_to_shell", seconds)
    record_property("seconds_from_failure_to_end", lines[-1][0] - failed)
    assert inside.stdout == f"{MARK.decode()}\n1\nbuild-vm\ntyped\n", told(inside)
    assert inside.returncode == 5

    folders = list(prepared.leases.iterdir())
    assert [folder.name[: len(run_id)] for folder in folders] == [run_id]
    whole = [path for path in folders[0].iterdir() if MARK in path.read_bytes()]
    assert whole == [], "what it has lies there in plain words"
    assert list(prepared.runs.iterdir()) == [], "it holds disk, and no process"

    assert vmkiln("run", "shell", run_id, "echo more > /dev/shm/more").returncode == 0
    again = vmkiln("run", "shell", run_id, "cat /dev/shm/more; sudo cat /root/on-disk; sudo id -u")
    assert again.stdout == f"more\n{MARK.decode()}\n0\n", told(again)
    assert lease.found(prepared, folders[0].name), "kept for the rest of its time"

    words = [*VMKILN, "run", "shell", run_id, "echo in; sleep 600"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True) as visit:
        assert visit.stdout is not None
        assert visit.stdout.readline() == "in\n"
        taken = vmkiln("run", "shell", run_id, "true")
        assert "somebody is in" in taken.stderr, told(taken)
        visit.kill()
    shown = vmkiln("run", "show", run_id)
    assert "held until" in shown.stdout, told(shown)
    assert left(run_id) == {"build-vm-held"}
    after = vmkiln("run", "shell", run_id, "cat /dev/shm/more")
    assert after.stdout == "more\n", told(after)

    assert vmkiln("run", "release", run_id).returncode == 0
    assert left(run_id) == set()
    assert list(prepared.leases.iterdir()) == []
    assert run_directory.abandoned(prepared.runs) == []
    late = vmkiln("run", "shell", run_id, "true")
    assert late.returncode != 0
    assert "is not held" in late.stderr
    shown = vmkiln("run", "show", run_id)
    assert "held until" not in shown.stdout, told(shown)
