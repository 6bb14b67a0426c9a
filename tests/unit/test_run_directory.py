"""The folder of a live run."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from vmkiln.run.run_directory import abandoned, held, remove


def test_it_is_private_while_held_and_gone_afterwards(tmp_path: Path) -> None:
    with held(tmp_path / "runs", "one") as directory:
        assert directory.stat().st_mode & 0o777 == 0o700
        (directory / "overlay.qcow2").write_text("x")
        assert abandoned(tmp_path / "runs") == []
    assert list((tmp_path / "runs").iterdir()) == []


def test_it_is_gone_after_an_error_too(tmp_path: Path) -> None:
    with pytest.raises(KeyError), held(tmp_path, "one"):
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_a_killed_process_is_found_and_removed(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from vmkiln.run.run_directory import held\n"
        "with held(Path(sys.argv[1]), 'one'): print('held', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == b"held\n"
        assert abandoned(tmp_path) == []
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    (directory,) = abandoned(tmp_path)
    remove(directory)
    assert list(tmp_path.iterdir()) == []


def test_removing_nothing_is_content(tmp_path: Path) -> None:
    remove(tmp_path / "never")
