"""What is in sources is kept by their digests, for a bounded number of them."""

import os
import time
from pathlib import Path

import pytest

from vmkiln.files.durable_file import part_of
from vmkiln.image_contents.contents import ImageContents
from vmkiln.inspecting import source_contents

CONTENTS = ImageContents(system={"id": "debian"}, users={"root": 0})


def test_what_is_in_a_source_is_known_by_its_digest(tmp_path: Path) -> None:
    folder = tmp_path / "cache/source-contents"
    assert source_contents.known(folder, "sha256:aa") is None
    source_contents.keep(folder, "sha256:aa", CONTENTS)
    assert source_contents.known(folder, "sha256:aa") == CONTENTS
    assert source_contents.known(folder, "sha256:ab") is None
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"\xff",
        b'{"packages": [{"odd": 1}]}',
        b'{"packages": 1}',
        b"[]",
        b"1",
        b"null",
        b'"text"',
        b'{"users": []}',
        b'{"units": {}}',
        b'{"system": "debian"}',
        b'{"packaging": 1}',
        b"[" * 100_000,
    ],
)
def test_what_cannot_be_read_is_not_known_and_is_kept_anew(tmp_path: Path, text: bytes) -> None:
    source_contents.keep(tmp_path, "aa", CONTENTS)
    (file,) = tmp_path.iterdir()
    file.write_bytes(text)
    assert source_contents.known(tmp_path, "aa") is None
    source_contents.keep(tmp_path, "aa", CONTENTS)
    assert source_contents.known(tmp_path, "aa") == CONTENTS


def test_another_looker_or_release_is_asked_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    key = source_contents.key_of("aa", "looker")
    assert key == source_contents.key_of("aa", "looker")
    others = {source_contents.key_of("ab", "looker"), source_contents.key_of("aa", "other")}
    monkeypatch.setattr(source_contents, "__version__", "99")
    others.add(source_contents.key_of("aa", "looker"))
    assert len(others - {key}) == 3


def test_a_failure_is_remembered_for_a_while_and_forgotten_by_a_look(tmp_path: Path) -> None:
    assert source_contents.failed_lately(tmp_path, "aa") is None
    source_contents.keep_failure(tmp_path, "aa", "it has no end" + 2000 * "!")
    told = "it has no end" + (source_contents.LONGEST_REASON_BYTES - 13) * "!"
    assert source_contents.failed_lately(tmp_path, "aa") == told
    assert source_contents.failed_lately(tmp_path, "ab") is None
    (file,) = tmp_path.iterdir()
    for wrong in (-source_contents.FAILED_SECONDS - 1, 60):  # long ago, or a clock that went back
        os.utime(file, (time.time() + wrong,) * 2)
        assert source_contents.failed_lately(tmp_path, "aa") is None
    source_contents.keep_failure(tmp_path, "aa", source_contents.FAILED_ONCE)
    assert source_contents.failed_lately(tmp_path, "aa") == source_contents.FAILED_ONCE
    source_contents.keep(tmp_path, "aa", CONTENTS)
    assert source_contents.failed_lately(tmp_path, "aa") is None


def test_what_a_killed_writer_left_is_deleted_and_a_living_ones_is_not(tmp_path: Path) -> None:
    with part_of(tmp_path / "living.json"):
        (tmp_path / ".dead.json.part").write_text("{")
        source_contents.remove_left(tmp_path)
        assert [file.name for file in tmp_path.iterdir()] == [".living.json.part"]
    source_contents.remove_left(tmp_path / "none")


def test_the_sources_used_longest_ago_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_contents, "MOST_KEPT", 2)
    for number, digest in enumerate("abc"):
        source_contents.keep(tmp_path, digest, CONTENTS)
        os.utime(tmp_path / f"{digest}.json", (number, number))
        if digest == "b":
            assert source_contents.known(tmp_path, "a") == CONTENTS  # used now
    assert {file.stem for file in tmp_path.iterdir()} == {"a", "c"}
