"""Files that are whole and stay, whatever happens while they are written."""

import os
from pathlib import Path

import pytest

from vmkiln.errors import StorageFailed
from vmkiln.files import durable_file
from vmkiln.files.durable_file import make_folder, part_of, remove_abandoned_part, sync_all, write_whole


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """What was waited for."""
    found: list[Path] = []
    monkeypatch.setattr(durable_file, "sync", found.append)
    return found


def test_a_file_is_replaced_whole_and_is_private(tmp_path: Path) -> None:
    file = tmp_path / "key"
    (tmp_path / ".key.part").write_bytes(b"left by a process that died")
    for content in (b"old", b"new"):
        write_whole(file, content)
        assert file.read_bytes() == content
        assert file.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [file]


def test_when_it_cannot_be_written_the_old_file_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_whole(tmp_path / "key", b"old")

    def broken(_descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(StorageFailed, match="Input/output error"):
        write_whole(tmp_path / "key", b"new")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]


def test_the_whole_way_to_a_folder_is_waited_for_whoever_made_it(tmp_path: Path, synced: list[Path]) -> None:
    for _ in range(2):
        make_folder(tmp_path / "a" / "b")
        assert synced[:3] == [tmp_path / "a", tmp_path, tmp_path.parent]
        synced.clear()


def test_all_of_a_folder_is_waited_for_and_no_link_is_followed(tmp_path: Path, synced: list[Path]) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").touch()
    (tmp_path / "link").symlink_to("/nowhere")
    sync_all(tmp_path)
    assert synced == [tmp_path / "a" / "file", tmp_path / "a", tmp_path]


@pytest.mark.parametrize("mode", [0o444, 0o400])
def test_what_a_dead_maker_left_read_only_is_made_anew(tmp_path: Path, mode: int) -> None:
    part = tmp_path / ".image.part"
    part.write_bytes(b"half")
    part.chmod(mode)
    with part_of(tmp_path / "image", mode=0o400) as descriptor:
        os.write(descriptor, b"whole")
    assert (tmp_path / "image").read_bytes() == b"whole"
    assert not part.exists()


@pytest.mark.parametrize("mode", [0o444, 0o400])
def test_what_a_dead_maker_left_read_only_is_removed(tmp_path: Path, mode: int) -> None:
    part = tmp_path / ".image.part"
    part.write_bytes(b"half")
    part.chmod(mode)
    assert remove_abandoned_part(part)
    assert not part.exists()
