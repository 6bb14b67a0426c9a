"""Who waits for a file to grow is woken by the kernel."""

import threading
import time
from pathlib import Path

import pytest

from vmkiln.files import file_watch
from vmkiln.files.file_watch import watched


def test_a_line_that_is_written_wakes_who_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log"
    path.write_text("")
    monkeypatch.setattr(file_watch, "LOOK_SECONDS", 60.0)  # so that only the kernel wakes
    with watched(path) as wait:
        for _ in range(3):
            write = threading.Timer(0.05, path.write_text, ["line\n"])
            write.start()
            began = time.monotonic()
            wait(50)
            assert time.monotonic() - began < 40
            write.join()


def test_what_came_before_the_wait_ends_it_and_silence_has_a_limit(tmp_path: Path) -> None:
    with watched(tmp_path / "log") as wait:
        (tmp_path / "log").write_text("line\n")
        wait(50)
        began = time.monotonic()
        wait(0.05)
        assert time.monotonic() - began >= 0.04


@pytest.mark.parametrize("is_refused", [True, False])
def test_without_a_folder_or_a_watch_it_looks_now_and_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_refused: bool
) -> None:
    folder = tmp_path / "later"
    if is_refused:
        monkeypatch.setattr(file_watch._libc, "inotify_init1", lambda _flags: -1)
        folder.mkdir()
    with watched(folder / "log") as wait:
        wait(0.01)
        folder.mkdir(exist_ok=True)
        wait(0.01)
        (folder / "log").write_text("line\n")
        wait(50)
