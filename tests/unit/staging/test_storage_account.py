"""The storage account: its name, and blobs that cannot leave it."""

import re
from pathlib import Path

import pytest

from vmkiln.errors import InputError
from vmkiln.staging.storage_account import StorageAccount, account_name


def test_the_name_is_24_letters_and_digits_and_always_the_same() -> None:
    assert re.fullmatch(r"[a-z0-9]{24}", account_name("IT_a_b_c"))
    assert account_name("IT_a_b_c") == account_name("IT_a_b_c")
    assert account_name("IT_a_b_c") != account_name("IT_a_b_d")


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../b", "", ".", "a//b", "a/", "a\n", ".hidden"])
def test_a_blob_cannot_leave_the_account(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError):
        StorageAccount("x", tmp_path).blob(name)


def test_blobs_are_listed(tmp_path: Path) -> None:
    account = StorageAccount("x", tmp_path / "account")
    account.create()
    account.blob("packerlogs/1/customization.log").write_text("")
    assert account.blobs() == ["packerlogs/1/customization.log"]
    (tmp_path / "other").write_text("of another")
    (account.directory / "packerlogs/1/link.log").symlink_to(tmp_path / "other")
    (account.directory / "packerlogs/2").symlink_to(tmp_path)
    assert account.blobs() == ["packerlogs/1/customization.log"], "a link may lead elsewhere"
    assert StorageAccount("x", tmp_path / "none").blobs() == []
