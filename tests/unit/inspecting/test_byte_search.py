"""A run's own keys are found in bytes, wherever a block or a table of the disk's file parts them."""

import base64
import json
from pathlib import Path

import pytest

from vmkiln.inspecting import byte_search
from vmkiln.inspecting.byte_search import found_in, secrets_of_seed
from vmkiln.staging.login_key import new_key

LOGIN, HOST = new_key("vmkiln-build"), new_key("host")
SEED = json.dumps({"key": LOGIN.public, "keys": {"private": HOST.private, "public": HOST.public}}).encode()


def private_lines() -> list[str]:
    return HOST.private.splitlines()[1:-1]


def test_the_seed_tells_what_to_look_for() -> None:
    wanted = secrets_of_seed(b"CD001" + SEED + bytes(2048))
    assert set(wanted) == {"the build VM's private host key", "a public key of the build"}
    assert private_lines()[0].encode() not in wanted["the build VM's private host key"], "every key begins so"
    assert len(wanted["the build VM's private host key"]) >= 3
    other = "".join(new_key("other").private.splitlines()).encode()
    assert not [line for line in wanted["the build VM's private host key"] if line in other]


@pytest.mark.parametrize("line", [1, 2, 3])
def test_one_line_of_a_key_is_enough(tmp_path: Path, line: int) -> None:
    file = tmp_path / "disk"
    file.write_bytes(bytes(5000) + private_lines()[line].encode() + bytes(100))
    assert found_in([file], secrets_of_seed(SEED)) == ["the build VM's private host key"]


def test_what_lies_across_two_reads_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(byte_search, "BLOCK_BYTES", 4096)
    file = tmp_path / "disk"
    blob = LOGIN.public.split()[1].encode()
    file.write_bytes(bytes(4096 - 40) + blob + bytes(9000))
    assert found_in([file], secrets_of_seed(SEED)) == ["a public key of the build"]


def test_clean_files_have_nothing(tmp_path: Path) -> None:
    file = tmp_path / "disk"
    file.write_bytes(new_key("somebody").private.encode() + new_key("else").public.encode())
    with file.open("r+b") as sparse:
        sparse.truncate(1 << 30)
    assert found_in([file], secrets_of_seed(SEED)) == []


@pytest.mark.parametrize("before", [b"", b"x", b"xy"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le"])
def test_a_password_is_found_in_each_of_its_forms_and_cut_once(tmp_path: Path, before: bytes, encoding: str) -> None:
    password = "aB3dE6gH9jK2mN5pQ8sT1vW4"
    wanted = byte_search.secrets_of_password(password)
    content = password.encode(encoding)
    for number, form in enumerate((content, base64.b64encode(before + content + b"z"))):
        for cut in (0, 1, len(form) // 2, len(form) - 1):
            file = tmp_path / f"{number}-{cut}"
            file.write_bytes(bytes(99) + form[:cut] + bytes(512) + form[cut:] + bytes(99))
            assert found_in([file], wanted) == ["the password of the build's user"]
    (tmp_path / "other").write_bytes(password[:9].encode() + bytes(99) + password.lower().encode())
    assert found_in([tmp_path / "other"], wanted) == []
