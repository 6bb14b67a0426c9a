"""Which ids a user may hand out is read from the system's files, the same way for whoever asks."""

import getpass
from pathlib import Path

import pytest

from vmkiln.host.confinement.subordinate_ids import IdFile, IdRange, own_range, range_in


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("alice:100000:65536\n", IdRange(100000, 65536)),
        ("bob:1:2\nalice:7:9\n", IdRange(7, 9)),
        ("1001:5:6\n", IdRange(5, 6)),
        ("bob:1:2\n", None),
        ("alice:x:y\n", None),
        ("alice:5:0\n", None),
        ("", None),
    ],
)
def test_the_users_own_range_is_found(text: str, expected: IdRange | None) -> None:
    assert range_in(text, user="alice", user_id=1001) == expected


def test_users_and_groups_have_files_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/subuid").write_text(f"{getpass.getuser()}:100000:65536\n")
    assert own_range(IdFile.USERS, tmp_path) == IdRange(100000, 65536)
    assert own_range(IdFile.GROUPS, tmp_path) is None, "there is no such file"
    (tmp_path / "etc/subgid").write_text(f"{getpass.getuser()}:7:9\n")
    assert own_range(IdFile.GROUPS, tmp_path) == IdRange(7, 9)


def test_a_range_has_its_first_id_and_as_many_as_it_says() -> None:
    assert list(IdRange(7, 3).ids) == [7, 8, 9]
