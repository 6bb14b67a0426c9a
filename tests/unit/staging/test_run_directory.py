"""The lock and the folder of a live run."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from vmkiln.files import locks
from vmkiln.staging import run_directory
from vmkiln.staging.run_directory import abandoned, forget_locks, held, is_live, live_runs, locked, remove

HOLDER = """
import sys, time
from pathlib import Path
from vmkiln.staging.run_directory import held, locked
with locked(Path(sys.argv[1]), "one"), held(Path(sys.argv[1]), "one"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_folder_is_private_while_held_and_gone_afterwards(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    with locked(runs, "one"), held(runs, "one") as directory:
        assert directory.stat().st_mode & 0o777 == 0o700
        (directory / "overlay.qcow2").write_text("x")
        assert abandoned(runs) == []
        assert live_runs(runs) == ["one"]
    assert list(runs.iterdir()) == []


def test_both_are_gone_after_an_error_too(tmp_path: Path) -> None:
    with pytest.raises(KeyError), locked(tmp_path, "one"), held(tmp_path, "one"):
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_a_run_is_live_before_its_folder_is_made_and_after_it_is_gone(tmp_path: Path) -> None:
    assert not is_live(tmp_path, "one")
    with locked(tmp_path, "one"):
        assert is_live(tmp_path, "one")
        with held(tmp_path, "one"):
            pass
        assert is_live(tmp_path, "one")
    assert not is_live(tmp_path, "one")


def test_the_folder_and_the_lock_of_a_killed_process_are_found_and_removed(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == b"held\n"
        assert abandoned(tmp_path) == []
        forget_locks(tmp_path)
        assert is_live(tmp_path, "one")
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert not is_live(tmp_path, "one")
    (directory,) = abandoned(tmp_path)
    remove(directory)
    forget_locks(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_looking_from_several_places_does_not_make_a_dead_run_live(tmp_path: Path) -> None:
    (tmp_path / "one.lock").touch()
    seen: list[bool] = []
    threads = [threading.Thread(target=lambda: seen.append(is_live(tmp_path, "one"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [False] * 8


def test_a_lock_that_is_made_while_a_free_one_is_deleted_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "one.lock"
    path.touch()
    try_to_take, calls = locks.try_to_take, []

    def late(descriptor: int, *, shared: bool = False) -> bool:
        if not calls:  # who had it ends, and another begins
            calls.append(descriptor)
            path.rename(tmp_path / "before")
            path.touch()
        return try_to_take(descriptor, shared=shared)

    monkeypatch.setattr(locks, "try_to_take", late)
    forget_locks(tmp_path)
    assert calls
    assert path.exists(), "or two processes have the run's lock"


def test_removing_nothing_is_content(tmp_path: Path) -> None:
    remove(tmp_path / "never")
    forget_locks(tmp_path / "never")


def test_what_an_earlier_attempt_left_is_in_no_later_ones_way(tmp_path: Path) -> None:
    left = run_directory.folder_of(tmp_path, "r")
    left.mkdir()
    with run_directory.locked(tmp_path, "r"):
        with run_directory.held(tmp_path, "r", attempt=2) as directory:
            assert directory.name == "r.2"
            assert run_directory.abandoned(tmp_path) == [], "the run is live"
        assert not directory.exists()
    assert run_directory.abandoned(tmp_path) == [left]
