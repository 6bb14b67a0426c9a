"""The keys of a build are kept for the next attempt, and nobody else reads them."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vmkiln.run.customizing import VM_NAME
from vmkiln.run.finished import build_keys
from vmkiln.staging.login_key import new_key
from vmkiln.store.database import Store, opened

KEY = new_key("host")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with opened(tmp_path / "db") as store:
        yield store


def a_run(folder: Path, store: Store, run_id: str = "run") -> Any:
    folder.mkdir()
    told: list[Any] = []
    return SimpleNamespace(
        host=SimpleNamespace(store=store),
        request=SimpleNamespace(run_id=run_id),
        directory=folder,
        tell=told.append,
        told=told,
    )


def test_the_next_attempt_knows_the_keys_and_no_byte_of_them_is_in_the_clear(tmp_path: Path, store: Store) -> None:
    first, kept = a_run(tmp_path / "first", store), tmp_path / "kept"
    kept.mkdir()
    (first.directory / f"{VM_NAME}-seed.iso").write_text(KEY.private + KEY.public)
    wanted = build_keys.known(first)
    build_keys.keep(first, kept)
    text = (kept / build_keys.FILE).read_bytes()
    assert wanted
    assert not any(line in text for lines in wanted.values() for line in lines)
    next_one, other = a_run(tmp_path / "next", store), a_run(tmp_path / "other", store, "another run")
    for run in (next_one, other):
        (run.directory / build_keys.FILE).hardlink_to(kept / build_keys.FILE)
    assert build_keys.known(next_one) == wanted
    assert build_keys.known(other) == {}, "it opens as this run's only"


def test_those_of_a_kept_disk_become_the_keys_of_whoever_takes_it(tmp_path: Path, store: Store) -> None:
    first, kept = a_run(tmp_path / "first", store), tmp_path / "kept"
    kept.mkdir()
    (first.directory / f"{VM_NAME}-seed.iso").write_text(KEY.private + KEY.public)
    assert build_keys.keep(first, kept, disk_digest="of the disk")
    next_one, again = a_run(tmp_path / "next", store, "another run"), tmp_path / "again"
    assert not build_keys.take_over(next_one, kept, disk_digest="of another disk")
    assert build_keys.known(next_one) == {}, "it opens as this disk's only"
    assert build_keys.take_over(next_one, kept, disk_digest="of the disk")
    assert build_keys.known(next_one) == build_keys.known(first)
    again.mkdir()
    build_keys.keep(next_one, again)
    assert (again / build_keys.FILE).exists(), "and a later attempt of that one knows them, too"


def test_a_build_without_a_seed_keeps_nothing(tmp_path: Path, store: Store) -> None:
    run = a_run(tmp_path / "run", store)
    assert not build_keys.keep(run, tmp_path)
    assert not (tmp_path / build_keys.FILE).exists()
    assert build_keys.known(run) == {}


def test_keys_that_cannot_be_read_cost_no_run_its_disk(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    with opened(tmp_path / "db", keys=keys) as store:
        first, kept = a_run(tmp_path / "first", store), tmp_path / "kept"
        kept.mkdir()
        (first.directory / f"{VM_NAME}-seed.iso").write_text(KEY.private)
        build_keys.keep(first, kept)
        next_one = a_run(tmp_path / "next", store)
        (next_one.directory / build_keys.FILE).write_bytes((kept / build_keys.FILE).read_bytes()[:-9] + b"\xff" * 9)
        assert build_keys.known(next_one) == {}, "no text, as a broken disk may give it"
        (keys / "keys.json").write_text("{")
        kept.joinpath(build_keys.FILE).unlink()
        build_keys.keep(first, kept)
    assert not any(kept.iterdir())
    assert [(one.is_warning, "could not search" in one.text) for one in first.told] == [(True, True)]
