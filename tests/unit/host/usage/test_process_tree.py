"""What a program and all below it take of this machine."""

import subprocess
import sys
from pathlib import Path

import pytest

from vmkiln.host.usage.process_tree import PAGE_KIB, TICKS, ProcessTree

BUSY = "import time\nwhile time.process_time() < 0.3: pass\nprint('done', flush=True)\ninput()\n"


def put(proc: Path, process: int, *, ticks: int, pages: int, began: int = 5, children: str = "") -> None:
    folder = proc / str(process)
    (folder / "task" / str(process)).mkdir(parents=True, exist_ok=True)
    fields = ["S", *["0"] * 10, str(ticks), "1", *["0"] * 5, "x", str(began), "0", str(pages), "0"]
    (folder / "stat").write_text(f"{process} (a name) of ) its own) {' '.join(fields)}\n")
    (folder / "task" / str(process) / "children").write_text(children)


def test_all_below_a_process_is_counted_with_it(tmp_path: Path) -> None:
    put(tmp_path, 1, ticks=10, pages=3, children="2 3 ")
    put(tmp_path, 2, ticks=20, pages=4, children="4 ")
    put(tmp_path, 4, ticks=30, pages=5)
    found = ProcessTree(1, tmp_path).look()  # 3 has ended before it was looked at
    assert found.cpu_seconds == pytest.approx(63 / TICKS)
    assert found.resident_kib == 12 * PAGE_KIB


def test_what_an_ended_process_took_stays_and_an_id_is_given_again(tmp_path: Path) -> None:
    tree = ProcessTree(1, tmp_path)
    put(tmp_path, 1, ticks=10, pages=3, children="2 ")
    put(tmp_path, 2, ticks=20, pages=4)
    tree.look()
    put(tmp_path, 2, ticks=5, pages=4, began=9)
    assert tree.look().cpu_seconds == pytest.approx((11 + 21 + 6) / TICKS)
    put(tmp_path, 1, ticks=12, pages=3)
    found = tree.look()
    assert found.cpu_seconds == pytest.approx((13 + 21 + 6) / TICKS)
    assert found.resident_kib == 3 * PAGE_KIB


def test_a_real_program_that_worked_is_seen_to_have_worked() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", BUSY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "done\n"
        found = ProcessTree(program.pid).look()
        program.communicate("\n")
    assert found.cpu_seconds >= 0.25
    assert found.resident_kib > 1024
