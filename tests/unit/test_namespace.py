"""Which ids a run's user namespace gets."""

import pytest

from vmkiln.host.namespace import IdRange, id_map_arguments, subordinate_range


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
    assert subordinate_range(text, user="alice", user_id=1001) == expected


def test_id_zero_inside_is_the_user_outside() -> None:
    arguments = id_map_arguments("newuidmap", 42, own_id=1001, subordinate=IdRange(100000, 65536))
    assert arguments == ["newuidmap", "42", "0", "1001", "1", "1", "100000", "65536"]


def test_without_a_range_only_the_user_is_mapped() -> None:
    assert id_map_arguments("newgidmap", 42, own_id=5, subordinate=None) == ["newgidmap", "42", "0", "5", "1"]
