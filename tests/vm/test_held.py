"""A failed VM is held, entered by its user, and let go; nothing of it is left."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from conftest import VMKILN, a_template, shell

from vmkiln.settings import Settings

pytestmark = [pytest.mark.vm, pytest.mark.usefixtures("world")]
LONGEST_SECONDS = 900


def vmkiln(*words: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*VMKILN, *words], capture_output=True, text=True, timeout=LONGEST_SECONDS, check=False, input=stdin
    )


def test_a_failed_vm_is_entered_and_let_go_and_leaves_nothing(prepared: Settings, tmp_path: Path) -> None:
    template = tmp_path / "failing.json"
    template.write_text(json.dumps(a_template(shell("echo before > /tmp/left-by-step; exit 7"), name="held")))
    words = [*VMKILN, "build", str(template), "--on-error", "hold", "--hold-for", "30", "--progress", "plain"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as build:
        assert build.stdout is not None
        told: list[str] = []
        try:
            run_id = ""
            while not run_id:
                line = build.stdout.readline()
                assert line, "".join(told)
                told.append(line)
                if found := re.search(r"`vmkiln run shell ([0-9a-f]+)` enters it", line):
                    run_id = found[1]
            inside = vmkiln("run", "shell", run_id, "cat /tmp/left-by-step; hostname; cat; exit 5", stdin="typed\n")
            assert (inside.stdout, inside.returncode) == ("before\nbuild-vm\ntyped\n", 5), inside.stderr
            again = vmkiln("run", "shell", run_id, "sudo", "id", "-u")
            assert (again.stdout, again.returncode) == ("0\n", 0), again.stderr
            assert vmkiln("run", "release", run_id).returncode == 0
            rest, _ = build.communicate(timeout=LONGEST_SECONDS)
        finally:
            build.terminate()
    assert build.returncode == 1, rest
    assert "is not held any more: it was released" in rest
    assert "customizing failed in `shell`" in rest
    late = vmkiln("run", "shell", run_id, "true")
    assert late.returncode != 0
    assert "is not held" in late.stderr
