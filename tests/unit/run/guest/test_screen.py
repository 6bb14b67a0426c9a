"""Pictures of a VM's screen are kept with its run: the newest of many, none twice, and none that fails a build."""

import asyncio
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vmkiln.errors import VmkilnError
from vmkiln.run.guest import screen
from vmkiln.run.guest.screen import MOST_PICTURES, name_of, pictures_in, watched


class Watched:
    """A VM whose screen shows what `shown` says, one after the other; then it ends, unless it `stays`."""

    def __init__(self, folder: Path, shown: list[bytes | Exception], monkeypatch: pytest.MonkeyPatch) -> None:
        account = SimpleNamespace(blob=lambda name: folder / Path(name).name)
        self.staged: Any = SimpleNamespace(
            group=SimpleNamespace(storage_account=account), request=SimpleNamespace(run_id="run")
        )
        self.vm: Any = SimpleNamespace(name="build-vm", control=None, ended=asyncio.get_running_loop().create_future())
        self.shown = shown
        self.is_done = asyncio.Event()
        self.told: list[str] = []
        self.has_failed = False
        monkeypatch.setattr(screen, "PICTURE_SECONDS", 0)
        monkeypatch.setattr(screen, "taken", self.taken)

    def watched(self) -> AbstractAsyncContextManager[None]:
        return watched(self.staged, self.told.append, lambda: self.has_failed, self.vm)

    async def taken(self, _control: object) -> bytes:
        found = self.shown.pop(0) if len(self.shown) > 1 else self.shown[0]
        if len(self.shown) == 1:
            self.is_done.set()
        if isinstance(found, Exception):
            raise found
        return found


def kept(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


async def test_a_picture_is_kept_once_and_one_that_fails_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Watched(tmp_path, [b"a", b"a", VmkilnError("no picture"), b"b", b"b"], monkeypatch)
    async with one.watched():
        await one.is_done.wait()
    assert kept(tmp_path) == {"build-vm-screen-00001.png": b"a", "build-vm-screen-00002.png": b"b"}
    assert not one.told


async def test_of_many_pictures_the_newest_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = MOST_PICTURES + 5
    one = Watched(tmp_path, [str(number).encode() for number in range(1, count + 1)], monkeypatch)
    async with one.watched():
        await one.is_done.wait()
    assert list(kept(tmp_path)) == [name_of("build-vm", number) for number in range(6, count + 1)]


async def test_large_pictures_of_a_guest_fill_no_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screen, "MOST_KEPT_BYTES", 10)
    one = Watched(tmp_path, [b"aaaa", b"bbbb", b"cc", b"dddd"], monkeypatch)
    async with one.watched():
        await one.is_done.wait()
    assert list(kept(tmp_path).values()) == [b"bbbb", b"cc", b"dddd"]


def test_a_picture_that_goes_while_the_newest_is_looked_for_is_none(tmp_path: Path) -> None:
    (tmp_path / name_of("build-vm", 1)).symlink_to(tmp_path / "gone")
    newest = tmp_path / name_of("build-vm", 2)
    newest.write_bytes(b"new")
    assert pictures_in(tmp_path)[-1] == newest


async def test_a_vm_that_is_given_up_leaves_its_last_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = Watched(tmp_path, [b"last"], monkeypatch)
    monkeypatch.setattr(screen, "PICTURE_SECONDS", 3600)
    with pytest.raises(VmkilnError, match="given up"):
        async with one.watched():
            raise VmkilnError("given up")
    assert kept(tmp_path) == {"build-vm-screen-00001.png": b"last"}
    assert "`vmkiln run screenshot run --picture FILE`" in one.told[0]


async def test_a_step_that_failed_is_told_where_its_screen_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for shown, count in ((b"blue", 1), (VmkilnError("no picture"), 0)):
        one = Watched(tmp_path, [shown], monkeypatch)
        one.has_failed = True
        async with one.watched():
            await one.is_done.wait()
        assert len(one.told) == count, "nothing is told that is not there"


async def test_a_vm_that_is_off_has_no_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = Watched(tmp_path, [b"never"], monkeypatch)
    one.vm.ended.set_result(None)
    async with one.watched():
        await asyncio.sleep(0)
    assert not kept(tmp_path)
