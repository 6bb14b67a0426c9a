"""What is kept of booted VMs: found whole or not at all, bounded, and nothing of makers that died."""

import os
import time
from pathlib import Path

import pytest

from vmkiln.files import locks
from vmkiln.host.qemu import SavedVm
from vmkiln.host.saved import saved_vm
from vmkiln.run_failures import VirtualMachineLost

KEY, OTHER = saved_vm.key_of({"program": "a"}), saved_vm.key_of({"program": "b"})


def kept(folder: Path, key: str = KEY, *, used: int = 1) -> SavedVm:
    """Something of 1 MiB, used last at that second."""
    workplace = saved_vm.begun(folder, key)
    (workplace / saved_vm.MEMORY).write_bytes(b"m" * saved_vm.MIB)
    saved_vm.finished(workplace, b"devices", "digest")
    saved_vm.named(workplace)
    found = saved_vm.found(folder, key)
    assert found is not None
    os.utime(folder / key, (used, used))
    return found


def test_the_key_has_every_fact() -> None:
    assert KEY != OTHER
    assert saved_vm.key_of({"a": 1, "b": 2}) == saved_vm.key_of({"b": 2, "a": 1})


def test_what_was_saved_is_found_by_its_key_alone_and_read_only(tmp_path: Path) -> None:
    saved = kept(tmp_path)
    assert (saved.memory.parent.name, saved.memory_digest) == (KEY, "digest")
    assert saved.devices.read_bytes() == b"devices"
    assert saved_vm.found(tmp_path, OTHER) is None
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / KEY).iterdir()} == {0o400}


def test_without_a_record_that_can_be_read_there_is_nothing(tmp_path: Path) -> None:
    record = kept(tmp_path).memory.parent / saved_vm.RECORD
    for text in ("", "{}", "[1]", '{"memory": "x"}'):
        record.chmod(0o600)
        record.write_text(text)
        assert saved_vm.found(tmp_path, KEY) is None
    record.unlink()
    assert saved_vm.found(tmp_path, KEY) is None


def test_what_is_being_made_is_not_found_and_its_maker_may_die(tmp_path: Path) -> None:
    workplace = saved_vm.begun(tmp_path, KEY)
    saved_vm.finished(workplace, b"devices", "digest")
    assert saved_vm.found(tmp_path, KEY) is None
    left = saved_vm.begun(tmp_path, OTHER)
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == [left]


def test_what_a_living_maker_makes_stays(tmp_path: Path) -> None:
    workplace = saved_vm.begun(tmp_path, KEY)
    with locks.opened(locks.file_of(tmp_path, KEY)) as lock:
        assert locks.try_to_take(lock)
        saved_vm.begun(tmp_path, OTHER)
        assert workplace.exists()


def test_what_is_thrown_away_is_gone_however_often(tmp_path: Path) -> None:
    saved = kept(tmp_path)
    for _ in range(2):
        saved_vm.discard(saved)
        assert not list(tmp_path.iterdir())


def test_what_was_used_least_lately_goes_first(tmp_path: Path) -> None:
    keys = [saved_vm.key_of({"n": number}) for number in range(4)]
    for key, used in zip(keys, (40, 10, 30, 20), strict=True):
        kept(tmp_path, key, used=used)
    each = saved_vm.bytes_of(tmp_path / keys[0])
    saved_vm.make_room(tmp_path, most_bytes=2 * each, keep=keys[1])
    assert {path.name for path in tmp_path.iterdir()} == {keys[0], keys[1]}


def test_two_who_make_room_at_once_do_not_disturb_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stays, other = kept(tmp_path, KEY), kept(tmp_path, OTHER)
    of_one = saved_vm.bytes_of

    def gone_when_it_is_looked_at(place: Path) -> int:
        if place.name == OTHER:
            saved_vm.discard(other)
        return of_one(place)

    monkeypatch.setattr(saved_vm, "bytes_of", gone_when_it_is_looked_at)
    saved_vm.make_room(tmp_path, most_bytes=0, keep=KEY)
    assert [path.name for path in tmp_path.iterdir()] == [stays.memory.parent.name]


def test_what_did_not_work_is_not_tried_again_for_a_day(tmp_path: Path) -> None:
    assert not saved_vm.is_refused(tmp_path, KEY)
    saved_vm.refuse(tmp_path, KEY, "it did not run")
    assert saved_vm.is_refused(tmp_path, KEY)
    assert not saved_vm.is_refused(tmp_path, OTHER)
    long_ago = time.time() - saved_vm.REFUSED_SECONDS
    os.utime(tmp_path / f"{KEY}{saved_vm.REFUSED}", (long_ago, long_ago))
    assert not saved_vm.is_refused(tmp_path, KEY)
    saved_vm.make_room(tmp_path, most_bytes=0)


def test_a_note_from_a_clock_that_was_ahead_is_over(tmp_path: Path) -> None:
    saved_vm.refuse(tmp_path, KEY, "it did not run")
    ahead = time.time() + 86_400
    os.utime(tmp_path / f"{KEY}{saved_vm.REFUSED}", (ahead, ahead))
    assert not saved_vm.is_refused(tmp_path, KEY)


def test_what_took_too_long_is_tried_again_sooner(tmp_path: Path) -> None:
    saved_vm.refuse(tmp_path, KEY, "it took too long", seconds=saved_vm.BUSY_SECONDS)
    noted = tmp_path / f"{KEY}{saved_vm.REFUSED}"
    assert saved_vm.refusal(tmp_path, KEY) == "it took too long"
    later = noted.stat().st_mtime - saved_vm.BUSY_SECONDS
    os.utime(noted, (later, later))
    assert saved_vm.refusal(tmp_path, KEY) == ""


def test_a_use_is_noted(tmp_path: Path) -> None:
    kept(tmp_path, used=1)
    saved_vm.found(tmp_path, KEY)
    assert (tmp_path / KEY).stat().st_mtime > 1


def test_who_goes_on_is_noted_as_a_use_and_may_find_it_gone(tmp_path: Path) -> None:
    saved = kept(tmp_path, used=1)
    assert saved_vm.devices_of(saved) == b"devices"
    assert (tmp_path / KEY).stat().st_mtime > 1, "a service keeps for days what it found when it began"
    saved.devices.chmod(0o600)
    saved.devices.write_bytes(b"changed")
    with pytest.raises(VirtualMachineLost, match="is not what was saved"):
        saved_vm.devices_of(saved)
    saved_vm.discard(saved)
    with pytest.raises(VirtualMachineLost, match="cannot be read: No such file"):
        saved_vm.devices_of(saved)


def test_a_disk_that_was_saved_too_is_copied_and_a_changed_byte_is_found(tmp_path: Path) -> None:
    workplace = saved_vm.begun(tmp_path, KEY)
    (workplace / saved_vm.DISK).write_bytes(b"d" * 100_000)
    saved_vm.finished(workplace, b"devices", "digest")
    saved_vm.named(workplace)
    saved = saved_vm.found(tmp_path, KEY)
    assert saved is not None
    assert saved.disk is not None
    own = tmp_path / "own"
    saved_vm.copy_disk(saved, own)
    assert own.read_bytes() == b"d" * 100_000
    assert own.stat().st_mode & 0o777 == 0o600
    assert own.stat().st_ino != saved.disk.stat().st_ino
    own.unlink()
    saved.disk.chmod(0o600)
    with saved.disk.open("r+b") as file:
        file.seek(70_000)
        file.write(b"e")
    with pytest.raises(VirtualMachineLost, match="is not what was saved"):
        saved_vm.copy_disk(saved, own)
    assert not own.exists()
    assert not saved_vm.is_whole(saved)


def test_files_of_locks_that_nobody_has_do_not_pile_up(tmp_path: Path) -> None:
    old, held, new = (locks.file_of(tmp_path, name) for name in ("old", "held", "new"))
    with locks.tried(old), locks.tried(new):
        pass
    with locks.tried(held):
        for file in (old, held):
            os.utime(file, (0, 0))
        saved_vm.remove_left(tmp_path)
    assert set(tmp_path.iterdir()) == {held, new}
