"""The folder in which an image is made: gone however it is left, and known as abandoned when its process died."""

import asyncio
import time
from pathlib import Path

import pytest

from vmkiln.platform_images import making_folder


async def test_the_folder_is_gone_afterwards_with_everything_in_it(tmp_path: Path) -> None:
    async with making_folder.opened(tmp_path, mode=0o711) as folder:
        assert folder.stat().st_mode & 0o777 == 0o711
        (folder / "deep" / "er").mkdir(parents=True)
        (folder / "deep" / "file").write_text("x")
    assert list(tmp_path.iterdir()) == []


async def test_the_folder_is_gone_after_an_error_and_after_a_cancel(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="x"):
        async with making_folder.opened(tmp_path):
            raise ValueError("x")
    inside = asyncio.Event()

    async def wait_forever() -> None:
        async with making_folder.opened(tmp_path):
            inside.set()
            await asyncio.Event().wait()

    waiting = asyncio.create_task(wait_forever())
    await inside.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert list(tmp_path.iterdir()) == []


async def test_a_folder_in_use_is_not_abandoned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(making_folder, "LEAST_AGE_SECONDS", 0)
    async with making_folder.opened(tmp_path) as folder:
        await making_folder.remove_abandoned(tmp_path)
        assert folder.is_dir()


async def test_a_folder_without_its_process_is_removed_once_it_is_not_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / f"{making_folder.PREFIX}killed"
    folder.mkdir()
    await making_folder.remove_abandoned(tmp_path)
    assert folder.is_dir()
    later = time.time() + making_folder.LEAST_AGE_SECONDS + 1
    monkeypatch.setattr(making_folder.time, "time", lambda: later)
    await making_folder.remove_abandoned(tmp_path)
    assert not folder.exists()


async def test_two_that_remove_at_once_do_not_meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(making_folder, "LEAST_AGE_SECONDS", 0)
    folder, removed = tmp_path / f"{making_folder.PREFIX}killed", list[Path]()
    folder.mkdir()

    async def removed_slowly(tree: Path) -> None:
        removed.append(tree)
        await asyncio.wait_for(making_folder.remove_abandoned(tmp_path), 60)  # another begins meanwhile, and ends
        tree.rmdir()

    monkeypatch.setattr(making_folder, "remove_tree", removed_slowly)
    await making_folder.remove_abandoned(tmp_path)
    assert removed == [folder]
    assert not folder.exists()


async def test_nothing_but_such_folders_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(making_folder, "LEAST_AGE_SECONDS", 0)
    (tmp_path / "real").mkdir()
    (tmp_path / f"{making_folder.PREFIX}link").symlink_to(tmp_path / "real")
    (tmp_path / f"{making_folder.PREFIX}file").write_text("x")
    before = sorted(tmp_path.iterdir())
    await making_folder.remove_abandoned(tmp_path)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("environment", "parent"), [({"TMPDIR": "/big"}, "/big"), ({"TMPDIR": ""}, "/var/tmp"), ({}, "/var/tmp")]
)
def test_what_a_subordinate_id_must_reach_lies_where_large_files_belong(
    environment: dict[str, str], parent: str
) -> None:
    assert making_folder.shared_parent(environment) == Path(parent)
