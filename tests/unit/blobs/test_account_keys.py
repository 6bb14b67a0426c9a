"""Keys of storage accounts: random, kept from others, one account's own."""

import base64
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from vmkiln.blobs.account_keys import AccountKeys


@pytest.fixture
def keys(tmp_path: Path) -> AccountKeys:
    return AccountKeys(tmp_path / "blobs/accounts.json")


def test_an_account_gets_two_keys_of_64_bytes_and_keeps_them(keys: AccountKeys) -> None:
    first = keys.of("one")
    assert [len(base64.b64decode(key)) for key in first] == [64, 64]
    assert keys.of("one") == first
    assert len({*first, *keys.of("two")}) == 4


def test_nobody_else_can_read_the_keys(keys: AccountKeys) -> None:
    keys.of("one")
    assert stat.S_IMODE(keys.file.stat().st_mode) == 0o600
    assert stat.S_IMODE(keys.file.parent.stat().st_mode) == 0o700


def test_without_accounts_the_file_is_there_for_the_blob_server(keys: AccountKeys) -> None:
    assert keys.all() == {}
    keys.ensure([])
    assert keys.file.read_text() == "{}"


def test_one_key_is_renewed_and_the_other_stays(keys: AccountKeys) -> None:
    first, second = keys.of("one")
    renewed = keys.renew("one", "key2")
    assert renewed[0] == first
    assert renewed[1] != second
    assert keys.renew("one", "key1")[1] == renewed[1]
    assert keys.of("one")[0] != first


def test_an_account_that_is_gone_has_no_keys(keys: AccountKeys) -> None:
    keys.ensure(["one", "two"])
    keys.forget(["one", "three"])
    assert set(keys.all()) == {"two"}


def test_accounts_made_at_once_do_not_lose_each_other(keys: AccountKeys) -> None:
    names = [f"account{number}" for number in range(20)]
    with ThreadPoolExecutor(8) as pool:
        given = dict(zip(names, pool.map(keys.of, names), strict=True))
    assert keys.all() == given
