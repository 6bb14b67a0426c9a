"""The cache of source images: what is in it is what was put there, and only one process at a time makes one."""

import hashlib
import json
import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from vmkiln.errors import ImageUnsafe, StorageFull
from vmkiln.platform_images import image_cache
from vmkiln.platform_images.image_cache import (
    SourceImage,
    add,
    add_name,
    cached_images,
    checked,
    kernels,
    remove,
    remove_leftovers,
)

CREATED = datetime(2026, 11, 24, tzinfo=UTC)


def put(cache: Path, content: bytes = b"disk", *, version: str = "1.2.3", created: datetime = CREATED) -> SourceImage:
    cache.mkdir(exist_ok=True)
    file = cache / ".new-file"
    file.write_bytes(content)
    return add(
        cache, file, name="a:b:c", exact_version=version, format="qcow2", generation=1, os_type="Linux",
        virtual_size_bytes=4096, origin="a test", created=created, recipe="r", published_digest="sha256:x",
    )  # fmt: skip


def test_an_images_kernel_lies_beside_it_and_goes_with_it(tmp_path: Path) -> None:
    def made(content: bytes, name: str, kernel: bytes | None, day: int) -> SourceImage:
        file, vmlinuz = tmp_path / "file", tmp_path / "vmlinuz"
        file.write_bytes(content)
        if kernel is not None:
            vmlinuz.write_bytes(kernel)
        return add(
            tmp_path / "cache", file, kernel=None if kernel is None else vmlinuz, name=name, exact_version="1.2.3",
            format="qcow2", generation=1, os_type="Linux", virtual_size_bytes=4096, origin="a test",
            created=CREATED.replace(day=day),
        )  # fmt: skip

    older = made(b"older", "a:b:c", b"kernel 1", 1)
    made(b"newer", "a:b:c", b"kernel 2", 2)
    made(b"second generation", "a:b:c-gen2", b"kernel 2", 3)
    made(b"fetched", "d:e:f", None, 4)
    found = kernels(cached_images(tmp_path / "cache"))
    assert [(kernel.image, kernel.vmlinuz.read_bytes()) for kernel in found] == [("a:b:c-gen2", b"kernel 2")]
    assert [kernel.vmlinuz.read_bytes() for kernel in kernels([older])] == [b"kernel 1"]
    assert not (tmp_path / "vmlinuz").exists()
    remove(older)
    assert kernels([older]) == ()


def overwrite(path: Path, content: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(content)


def test_an_image_lies_under_the_digest_of_its_content_and_is_read_only(tmp_path: Path) -> None:
    image = put(tmp_path)
    assert image.path == tmp_path / hashlib.sha256(b"disk").hexdigest() / "disk.qcow2"
    assert image.path.read_bytes() == b"disk"
    assert image.path.stat().st_mode & 0o777 == 0o400


def test_what_was_put_there_is_found_again_newest_first(tmp_path: Path) -> None:
    old = put(tmp_path, b"old", created=CREATED - timedelta(days=9))
    new = put(tmp_path, b"new")
    assert cached_images(tmp_path) == [new, old]
    assert old.age_days(CREATED) == 9


def test_the_same_content_is_kept_once(tmp_path: Path) -> None:
    first, second = put(tmp_path), put(tmp_path)
    assert first.digest == second.digest
    assert len(cached_images(tmp_path)) == 1


def test_a_record_of_an_older_program_is_still_read(tmp_path: Path) -> None:
    image = put(tmp_path)
    record = image.path.parent / "record.json"
    values = json.loads(record.read_text())
    del values["recipe"], values["published_digest"]
    record.write_text(json.dumps(values))
    assert [found.recipe for found in cached_images(tmp_path)] == [""]


@pytest.mark.parametrize("text", ["", "{", "{}", "[]", '{"file": "x", "unknown": 1}'])
def test_a_damaged_record_hides_its_image_and_no_other(tmp_path: Path, text: str) -> None:
    damaged, good = put(tmp_path, b"one"), put(tmp_path, b"two")
    (damaged.path.parent / "record.json").write_text(text)
    assert cached_images(tmp_path) == [good]


def test_a_cache_that_does_not_exist_is_empty(tmp_path: Path) -> None:
    assert cached_images(tmp_path / "none") == []


async def test_an_intact_image_is_given_out(tmp_path: Path) -> None:
    image = put(tmp_path)
    assert await checked(image) == image


async def test_a_changed_image_is_set_aside_and_refused(tmp_path: Path) -> None:
    image = put(tmp_path)
    overwrite(image.path, b"evil")
    with pytest.raises(ImageUnsafe, match="not what was put there"):
        await checked(image)
    assert cached_images(tmp_path) == []
    assert not image.path.exists()


async def test_a_change_that_restores_size_and_time_is_seen(tmp_path: Path) -> None:
    image = put(tmp_path)
    status = image.path.stat()
    overwrite(image.path, b"evil")
    os.utime(image.path, ns=(status.st_atime_ns, status.st_mtime_ns))
    image.path.chmod(0o444)
    with pytest.raises(ImageUnsafe):
        await checked(image)


async def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    image = put(tmp_path)
    image.path.unlink()
    with pytest.raises(ImageUnsafe):
        await checked(image)


async def test_an_untouched_image_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = put(tmp_path)
    await checked(image)

    def must_not_read(path: Path) -> str:
        raise AssertionError(f"{path} was read")

    monkeypatch.setattr(image_cache, "sha256_of", must_not_read)
    assert await checked(image) == image


async def test_a_touched_image_is_read_again_and_then_remembered(tmp_path: Path) -> None:
    image = put(tmp_path)
    image.path.touch()
    marker = image.path.parent / "checked.json"
    before = marker.read_text()
    assert await checked(image) == image
    assert marker.read_text() != before


def test_an_image_can_be_removed_twice(tmp_path: Path) -> None:
    image = put(tmp_path)
    remove(image)
    remove(image)
    assert cached_images(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_killed_processes_are_removed_and_images_stay(tmp_path: Path) -> None:
    image = put(tmp_path)
    living = f".adding-2-{os.getpid()}"
    for name in (".adding-2-4194305", ".corrupt-3", ".removing-4-4194305", living):
        (tmp_path / name).mkdir()
    (image.path.parent / ".checked.json.part").write_text("[")
    (tmp_path / ".part-x").write_bytes(b"to go on from")
    assert len(remove_leftovers(tmp_path)) == 3
    assert cached_images(tmp_path) == [image]
    assert {path.name for path in tmp_path.iterdir()} == {".corrupt-3", living, ".part-x", image.digest}


@pytest.mark.parametrize("text", ["", "[1", "{}"])
async def test_a_check_that_was_not_written_down_to_its_end_is_done_again(tmp_path: Path, text: str) -> None:
    image = put(tmp_path)
    (image.path.parent / "checked.json").write_text(text)
    assert await checked(image) == image


def test_an_image_whose_record_is_damaged_is_put_there_again(tmp_path: Path) -> None:
    damaged = put(tmp_path)
    (damaged.path.parent / "record.json").chmod(0o644)
    (damaged.path.parent / "record.json").write_text("{")
    assert cached_images(tmp_path) == []
    again = put(tmp_path)
    assert cached_images(tmp_path) == [again]


def test_two_that_put_a_damaged_image_there_again_do_not_meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other is whole before what is damaged is gone, which is by one move: nothing is deleted under the other."""
    (put(tmp_path).path.parent / "record.json").unlink()
    set_aside, others = image_cache._set_aside, list[SourceImage]()

    def after_another(place: Path, aside: Path) -> None:
        set_aside(place, aside)
        if not others:
            others.append(put(tmp_path))

    monkeypatch.setattr(image_cache, "_set_aside", after_another)
    mine = put(tmp_path)
    assert cached_images(tmp_path) == [mine] == others
    assert mine.path.read_bytes() == b"disk"
    assert {path.name for path in tmp_path.iterdir()} == {mine.digest}


def test_two_names_of_the_same_bytes_are_removed_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = put(tmp_path)
    twin = add_name(tmp_path, image, name=image.name, exact_version="1.2.4")
    rmtree = shutil.rmtree

    def slowly(path: Path, **named: Any) -> None:
        monkeypatch.setattr(image_cache.shutil, "rmtree", rmtree)
        remove(twin)
        rmtree(path, **named)

    monkeypatch.setattr(image_cache.shutil, "rmtree", slowly)
    remove(image)
    assert list(tmp_path.iterdir()) == []


def test_an_image_that_cannot_be_added_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(image_cache, "sync", full)
    with pytest.raises(StorageFull, match="No space"):
        put(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == []
