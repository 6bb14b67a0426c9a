"""On a full disk clean-up works all the same: the reserve file is deleted, and made again later."""

import subprocess
import sys
from pathlib import Path

import pytest

from vmkiln.host import reserve_file
from vmkiln.host.reserve_file import RESERVE_BYTES, ensure, release_if_full

MOUNTED = """
import os, shutil, sys
from pathlib import Path
from vmkiln.host import reserve_file
from vmkiln.run import cleaning_up
from vmkiln.settings import Settings
from vmkiln.store.database import opened, utc_now
from vmkiln.store.rows import RunRow

settings = Settings(Path(sys.argv[1]))
with_reserve = sys.argv[2] == "with"
with opened(settings.database) as store:
    store.runs.add(RunRow("r1", "web", "rg", {}, "Running", "", "", "", "", {}, utc_now(), None))
    if with_reserve:
        reserve_file.ensure(settings.home, plenty_bytes=0)
        assert (settings.home / "reserve").exists()
    (settings.runs / "r1").mkdir(parents=True)
    with (settings.home / "filler").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(65536) )
        except OSError:
            pass
        try:
            while True:
                file.write(b"x")
        except OSError:
            pass
    assert shutil.disk_usage(settings.home).free == 0
    thrown = reserve_file.release_if_full(settings.home)
    assert thrown is with_reserve
    try:
        cleaning_up.end_leftovers(settings, store, lambda text: None)
        print(store.runs.find("r1").state, (settings.runs / "r1").exists())
    except Exception as error:
        print("full", type(error).__name__)
    (settings.home / "filler").unlink()
    reserve_file.ensure(settings.home, plenty_bytes=0)
    assert (settings.home / "reserve").exists()
"""


def on_a_small_disk(folder: Path, which: str) -> str:
    """What the script prints on a file system of 80 MiB of its own."""
    script = folder / "script.py"
    script.write_text(MOUNTED)
    home = folder / "home"
    home.mkdir()
    shell = f"mount -t tmpfs -o size=80m tmpfs {home} && exec {sys.executable} {script} {home} {which}"
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", shell]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[3])
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_dead_run_is_cleaned_up_on_a_full_disk(tmp_path: Path) -> None:
    assert on_a_small_disk(tmp_path, "with") == "Failed False"


def test_without_the_reserve_file_it_could_not_be(tmp_path: Path) -> None:
    assert on_a_small_disk(tmp_path, "without").startswith("full"), "the probe really fills the disk"


def test_it_is_really_there_and_only_with_plenty_of_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ensure(tmp_path, plenty_bytes=10**18)
    assert list(tmp_path.iterdir()) == []
    for _ in range(2):
        ensure(tmp_path, plenty_bytes=0)
        state = (tmp_path / "reserve").stat()
        assert (state.st_size, state.st_mode & 0o777) == (RESERVE_BYTES, 0o600)
        assert state.st_blocks * 512 >= RESERVE_BYTES
    assert not release_if_full(tmp_path)
    monkeypatch.setattr(reserve_file, "LOW_BYTES", 10**18)
    assert release_if_full(tmp_path)
    assert not release_if_full(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_was_made_only_in_part_is_deleted_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "reserve.part").write_bytes(b"x")
    monkeypatch.setattr(reserve_file, "LOW_BYTES", 10**18)
    assert release_if_full(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_reserve_of_an_older_release_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / "ballast").write_bytes(b"x" * 4096)
    (tmp_path / "ballast.part").touch()
    ensure(tmp_path, plenty_bytes=10**18)  # there is no room for a new one
    assert {path.name for path in tmp_path.iterdir()} == {"reserve"}
