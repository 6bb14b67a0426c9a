"""A disk that fails or is full at whatever system call: an error of ours, nothing torn, no success but a real one."""

import re
from collections.abc import Iterator, Sequence

import pytest
import tiers
from sweep import Tried, in_memory, points_in, processes, tasks, try_points
from syscall_faults import Point

NAMES = ("a managed image", "a version", "a VHD", "a cached image", "keys", "queue_run", "requeue_run", "replace_image")
WRITES = ("fallocate", "ftruncate", "link", "mkdir", "openat", "pwrite64", "rename", "write")
TOLD = ("link", "mkdir", "pwrite64", "rename", "write")
SYNCS = ("fsync", "fdatasync")


@pytest.fixture(scope="module")
def tried() -> Iterator[list[Tried]]:
    """Each case, with each of its calls failing before it could say that it is done."""
    with in_memory() as folder, processes() as pool:
        found = dict(zip(NAMES, pool.starmap(points_in, [(folder / name, name) for name in NAMES]), strict=True))

        def points(name: str) -> Sequence[Point]:
            return tiers.thinned(found[name][0])

        def writes(name: str) -> Sequence[Point]:
            return tiers.thinned([point for point in found[name][0] if point.call in WRITES])

        work = tasks(folder / "EIO", NAMES, points, ["EIO"]) + tasks(folder / "ENOSPC", NAMES, writes, ["ENOSPC"])
        yield [item for part in pool.imap(try_points, work) for item in part]


@pytest.mark.parametrize("name", NAMES)
def test_when_a_call_fails_nothing_is_torn_and_the_error_is_ours(name: str, tried: list[Tried]) -> None:
    mine = [item for item in tried if item.case == name]
    assert len(mine) > 5
    assert [f"{item.fault} {item.point}: {item.problem}" for item in mine if item.problem] == []
    assert not any(item.outcome.is_killed for item in mine)
    assert any(item.outcome.error for item in mine)


def is_promised(point: Point) -> bool:
    """Whether success rests on this sync.

    SQLite syncs the folder of a new write-ahead log and does not look whether that worked: `opened` has done it before.
    That a cached image was checked may be forgotten.
    """
    is_log_folder = point.call == "fdatasync" and point.what.endswith("/home>")
    return not is_log_folder and not re.search(r"/cache/images/[0-9a-f]{64}(/\.checked\.json\.part)?>$", point.what)


def test_what_could_not_be_synced_is_never_acknowledged(tried: list[Tried]) -> None:
    synced = [item for item in tried if item.point.call in SYNCS and is_promised(item.point)]
    assert len(synced) > tiers.least(20)
    assert [f"{item.case}: {item.point}" for item in synced if item.outcome.is_done] == []


def test_a_full_disk_is_called_so(tried: list[Tried]) -> None:
    """But where SQLite says only that it could not make or lengthen a file."""
    full = [item.outcome.error for item in tried if item.fault == "ENOSPC" and item.point.call in TOLD]
    assert sum(error.startswith("StorageFull: ") for error in full) > tiers.least(50)
    assert {error for error in full if error and not error.startswith("StorageFull: ")} == set()
