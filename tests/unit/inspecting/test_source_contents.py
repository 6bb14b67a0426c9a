"""What is in sources is kept by their digests, for a bounded number of them."""

import os
from pathlib import Path

import pytest

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


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b'{"packages": [{"odd": 1}]}', b'{"packages": 1}'])
def test_what_cannot_be_read_is_not_known_and_is_kept_anew(tmp_path: Path, text: bytes) -> None:
    source_contents.keep(tmp_path, "aa", CONTENTS)
    (file,) = tmp_path.iterdir()
    file.write_bytes(text)
    assert source_contents.known(tmp_path, "aa") is None
    source_contents.keep(tmp_path, "aa", CONTENTS)
    assert source_contents.known(tmp_path, "aa") == CONTENTS


def test_the_sources_used_longest_ago_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_contents, "MOST_KEPT", 2)
    for number, digest in enumerate("abc"):
        source_contents.keep(tmp_path, digest, CONTENTS)
        os.utime(tmp_path / f"{digest}.json", (number, number))
        if digest == "b":
            assert source_contents.known(tmp_path, "a") == CONTENTS  # used now
    assert {file.stem for file in tmp_path.iterdir()} == {"a", "c"}
