"""What every kind of object store has to do; a test module gives the fixture `objects` and inherits the tests."""

import hashlib
import os
from pathlib import Path

import pytest

from vmkiln.errors import ImageUnsafe, ObjectMissing, SharedStorageFailed
from vmkiln.sharing import object_store
from vmkiln.sharing.object_store import ObjectStore

MIB = 1024**2
GROUP = "staging/IT_rg_web(1)_0a.b"


class ObjectStoreContract:
    """Tests for any store."""

    def test_what_is_put_is_read_from_any_position(self, objects: ObjectStore) -> None:
        objects.put(f"{GROUP}/log", b"first")
        objects.put(f"{GROUP}/log", b"first, second")
        assert objects.read_from(f"{GROUP}/log", 0) == b"first, second"
        assert objects.read_from(f"{GROUP}/log", 7) == b"second"
        assert objects.read_from(f"{GROUP}/log", 7, most_bytes=3) == b"sec"

    def test_a_large_file_comes_back_as_it_was_with_its_holes(self, objects: ObjectStore, tmp_path: Path) -> None:
        file, back = tmp_path / "disk", tmp_path / "far" / "disk"
        with file.open("wb") as disk:
            disk.write(os.urandom(MIB))
            disk.seek(10 * MIB)
            disk.write(b"in the last part")
            disk.truncate(12 * MIB + 1)
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        objects.put_file("images/r/0001/disk.vhd", file, digest=digest)
        objects.get_file("images/r/0001/disk.vhd", back, digest=digest, mode=0o444)
        assert hashlib.sha256(back.read_bytes()).hexdigest() == digest
        assert back.stat().st_size == 12 * MIB + 1
        assert back.stat().st_blocks * 512 < 6 * MIB
        assert back.stat().st_mode & 0o777 == 0o444
        assert [path.name for path in back.parent.iterdir()] == ["disk"]

    def test_an_empty_file_is_a_file(self, objects: ObjectStore, tmp_path: Path) -> None:
        file = tmp_path / "empty"
        file.touch()
        objects.put_file("scripts/empty", file, digest=hashlib.sha256().hexdigest())
        objects.get_file("scripts/empty", tmp_path / "back")
        assert (tmp_path / "back").read_bytes() == b""

    def test_a_changed_object_is_refused_and_nothing_of_it_is_kept(self, objects: ObjectStore, tmp_path: Path) -> None:
        content = bytearray(os.urandom(100_000))
        digest = hashlib.sha256(content).hexdigest()
        content[70_000] ^= 1
        objects.put("images/r/0001/x.qcow2", bytes(content))
        with pytest.raises(ImageUnsafe, match="not what was put there"):
            objects.get_file("images/r/0001/x.qcow2", tmp_path / "place" / "disk", digest=digest)
        assert list((tmp_path / "place").iterdir()) == []

    def test_what_the_store_kept_is_compared_with_what_was_sent(self, objects: ObjectStore, tmp_path: Path) -> None:
        file = tmp_path / "disk"
        file.write_bytes(b"other bytes than the ones that were hashed")
        with pytest.raises(SharedStorageFailed, match="keeps other bytes"):
            objects.put_file("images/r/0001/y.qcow2", file, digest=hashlib.sha256(b"hashed").hexdigest())
        assert not objects.exists("images/r/0001/y.qcow2")

    def test_a_folder_is_listed_with_sizes_and_no_neighbour(self, objects: ObjectStore) -> None:
        for name, size in (("a/1", 1), ("a/2", 2), ("a/10/3", 3), ("ab/1", 4)):
            objects.put(f"list/{name}", bytes(size))
        found = [(item.key, item.size_bytes) for item in objects.objects("list/a")]
        assert found == [("list/a/1", 1), ("list/a/10/3", 3), ("list/a/2", 2)]
        assert [item.key for item in objects.objects("list/a", after="list/a/10/3")] == ["list/a/2"]
        assert objects.objects("list/nothing") == []
        assert objects.folders("list") == ["a", "ab"]
        assert objects.folders("nothing") == []

    def test_a_new_content_has_a_new_tag(self, objects: ObjectStore) -> None:
        objects.put("tag/x", b"one")
        first = objects.look("tag/x")
        objects.put("tag/x", b"two")
        assert objects.look("tag/x").tag != first.tag
        assert first.tag
        assert objects.look("tag/x").changed >= first.changed

    def test_deleting_is_content_with_what_is_gone(self, objects: ObjectStore) -> None:
        keys = [f"gone/{number}(x)" for number in range(3)]
        objects.put(keys[0], b"x")
        objects.put(keys[2], b"x")
        objects.delete(keys)
        assert not any(objects.exists(key) for key in keys)
        assert objects.objects("gone") == []

    def test_what_is_not_there_is_told_apart(self, objects: ObjectStore, tmp_path: Path) -> None:
        with pytest.raises(ObjectMissing):
            objects.read_from("never/was", 0)
        with pytest.raises(ObjectMissing):
            objects.get_file("never/was", tmp_path / "file")
        assert not (tmp_path / "file").exists()

    @pytest.mark.parametrize("key", ["a/../b", "../b", "a//b"])
    def test_no_key_leaves_its_folder(self, objects: ObjectStore, key: str) -> None:
        with pytest.raises(SharedStorageFailed):
            objects.put(key, b"x")

    def test_an_object_that_shrinks_while_it_is_read_is_no_whole_object(
        self, objects: ObjectStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(object_store, "BLOCK_BYTES", 10)
        objects.put("shrinking", bytes(15))
        blocks = objects.blocks("shrinking")
        assert len(next(blocks)) == 10
        objects.put("shrinking", bytes(12))
        with pytest.raises(SharedStorageFailed, match="shorter"):
            next(blocks)
