"""A lock ends with its holder, is seen by others, and is of the file that has its name."""

import os
from pathlib import Path

import pytest

from vmkiln.files import locks


def test_a_lock_is_seen_while_it_is_held_and_not_after(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    assert not locks.is_held(file)
    with locks.exclusive(file):
        assert locks.is_held(file)
    assert not locks.is_held(file)
    assert file.exists(), "it stays for the next one"


def test_those_who_share_a_lock_keep_out_who_wants_it_alone(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    with locks.opened(file) as one, locks.opened(file) as other, locks.opened(file) as third:
        assert locks.try_to_take(one, shared=True)
        assert locks.try_to_take(other, shared=True)
        assert not locks.try_to_take(third)


def test_a_file_that_is_removed_before_it_is_locked_is_locked_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "lock"
    take, calls = locks.take, []

    def late(descriptor: int) -> None:
        if not calls:
            calls.append(descriptor)
            file.unlink()
        take(descriptor)

    monkeypatch.setattr(locks, "take", late)
    with locks.taken(file) as descriptor:
        assert locks.is_at(descriptor, file)
        assert locks.is_held(file)


def test_the_holder_of_a_lock_is_told(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    assert locks.holder_of(file) is None
    with locks.exclusive(file):
        assert locks.holder_of(file) == os.getpid()
    assert locks.holder_of(file) is None


def test_a_lock_that_somebody_has_is_not_removed_and_a_free_one_is(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    locks.remove_free(file)
    with locks.tried(file) as is_ours:
        assert is_ours
        locks.remove_free(file)
        assert file.exists()
        with locks.tried(file) as is_anothers:
            assert not is_anothers
    locks.remove_free(file)
    assert not file.exists()


def test_who_opened_a_file_before_it_was_removed_shares_its_lock_with_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "lock"
    try_to_take, calls = locks.try_to_take, []

    def late(descriptor: int, *, shared: bool = False) -> bool:
        if not calls:
            calls.append(descriptor)
            locks.remove_free(file)
        return try_to_take(descriptor, shared=shared)

    monkeypatch.setattr(locks, "try_to_take", late)
    with locks.tried(file) as is_ours, locks.tried(file) as is_anothers:
        assert (is_ours, is_anothers) == (True, False)
