"""What others may do in the state directory is taken away, once and with a word; what the owner may do is not."""

import os
import re
import stat
from pathlib import Path

import pytest

from vmkiln.files.private_folder import (
    Opened,
    make_private,
    make_private_before_use,
    opened,
    private_file,
    private_folder,
    private_mode,
    summary,
)

PACKAGE = Path(__file__).parents[3] / "vmkiln"
FOLDER, FILE, LINK, SOCKET = stat.S_IFDIR, stat.S_IFREG, stat.S_IFLNK, stat.S_IFSOCK


@pytest.mark.parametrize(
    ("mode", "private"),
    [
        (FOLDER | 0o755, 0o700),
        (FOLDER | 0o500, 0o700),
        (FOLDER | 0o2775, 0o700),
        (FILE | 0o644, 0o600),
        (FILE | 0o444, 0o400),
        (FILE | 0o755, 0o700),
        (FILE | 0o4755, 0o700),
        (FILE | 0o600, 0o600),
        (SOCKET | 0o777, 0o700),
    ],
)
def test_a_mode_loses_what_others_may_do(mode: int, private: int) -> None:
    assert private_mode(mode) == private


def test_links_and_what_is_private_already_stay_as_they_are() -> None:
    entries = [(Path("a"), LINK | 0o777), (Path("b"), FILE | 0o600), (Path("c"), FILE | 0o640)]
    assert list(opened(entries)) == [Opened(Path("c"), FILE | 0o640)]


def test_the_summary_counts_all_and_names_the_first() -> None:
    home = Path("/h")
    found = [
        Opened(home / "staging", FOLDER | 0o755),
        *(Opened(home / str(number), FILE | 0o644) for number in range(9)),
    ]
    text = summary(home, found)
    assert "of /h (folders: 1, files: 9): staging, 0, 1, 2, 3, ..." in text


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A state directory as an older release left it."""
    home = tmp_path / "home"
    (home / "staging/group/logs").mkdir(parents=True)
    (home / "staging/group/logs/log").write_text("log")
    (home / "images").mkdir()
    (home / "images/disk.qcow2").write_text("disk")
    for path, mode in ((home, 0o755), (home / "images", 0o700), (home / "images/disk.qcow2", 0o444)):
        path.chmod(mode)
    for path in (home / "staging", home / "staging/group", home / "staging/group/logs"):
        path.chmod(0o755)
    (home / "staging/group/logs/log").chmod(0o644)
    return home


def modes(home: Path) -> set[int]:
    return {stat.S_IMODE(path.lstat().st_mode) for path in (home, *home.rglob("*"))}


def test_everything_is_made_private_and_told_once(home: Path) -> None:
    told: list[str] = []
    make_private(home, told.append)
    assert modes(home) == {0o700, 0o600, 0o400}
    assert len(told) == 1
    make_private(home, told.append, is_thorough=True)
    assert len(told) == 1


def test_a_command_looks_only_at_what_lies_on_top_unless_that_is_open(home: Path) -> None:
    told: list[str] = []
    make_private(home, told.append)
    (home / "staging/group/logs/log").chmod(0o644)
    make_private(home, told.append)
    assert len(told) == 1, "a command does not walk through all logs"
    make_private(home, told.append, is_thorough=True)
    assert len(told) == 2
    (home / "staging").chmod(0o750)
    (home / "staging/group/logs/log").chmod(0o644)
    make_private(home, told.append)
    assert modes(home) == {0o700, 0o600, 0o400}


def test_what_a_link_points_to_is_not_touched(home: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o755)
    outside.chmod(0o755)
    (outside / "file").write_text("x")
    (outside / "file").chmod(0o644)
    (home / "folder").symlink_to(outside)
    (home / "file").symlink_to(outside / "file")
    make_private(home, lambda _text: None)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (outside, outside / "file")] == [0o755, 0o644]


def test_what_cannot_be_changed_is_named_and_the_rest_is_done(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.chmod

    def chmod(path: Path, mode: int) -> None:
        if path.name == "log":
            raise PermissionError(1, "not yours", str(path))
        real(path, mode)

    monkeypatch.setattr(Path, "chmod", chmod)
    told: list[str] = []
    make_private(home, told.append)
    assert any("logs/log and 0 more" in text for text in told)
    assert modes(home) == {0o700, 0o400, 0o644}


def test_a_new_file_is_its_owners_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with private_file(tmp_path / "file", "wb"):
            pass
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600


def test_what_a_program_made_is_private_before_it_is_used(home: Path) -> None:
    make_private_before_use(home)
    assert modes(home) == {0o700, 0o600, 0o400}


def test_a_private_folder_is_private_with_all_that_are_made_above_it(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        private_folder(tmp_path / "home/cache/kernel")
        private_folder(tmp_path / "home/cache/kernel")
    finally:
        os.umask(before)
    made = [tmp_path / name for name in ("home", "home/cache", "home/cache/kernel")]
    assert [stat.S_IMODE(folder.stat().st_mode) for folder in made] == [0o700] * 3


def test_nobody_makes_folders_whose_parents_get_the_mode_of_the_umask() -> None:
    both = re.compile(r"parents=True[^()]*\bmode=|\bmode=[^()]*parents=True")
    found = [str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py") if both.search(path.read_text())]
    assert found == [], "`private_folder` makes those above private, too"
