"""Which way to log in a run takes: its tag's, that of a check, or the first; and how far that is proven."""

from types import SimpleNamespace
from typing import Any

import pytest

from vmkiln.run.guest.login_way import login_way_of
from vmkiln.store.database import utc_now
from vmkiln.store.gates.verdict_table import VerdictRow
from vmkiln.windows.login_tag import TAG, Hook, gate_of
from vmkiln.windows.proven import UNPROVEN


def a_store(*checked: Hook, digest: str = "d") -> Any:
    rows = {
        (gate_of(hook), digest): VerdictRow(gate_of(hook), digest, "0123456789", 9.0, utc_now()) for hook in checked
    }
    return SimpleNamespace(verdicts=SimpleNamespace(known=lambda gate, digest: rows.get((gate, digest))))


@pytest.mark.parametrize(
    ("checked", "tags", "hook", "is_checked"),
    [
        ((), {}, Hook.SETUP_COMPLETE, False),
        ((Hook.FIRST_LOGON,), {}, Hook.FIRST_LOGON, True),
        (tuple(Hook), {}, Hook.SETUP_COMPLETE, True),
        ((Hook.SETUP_COMPLETE,), {TAG: "first-logon"}, Hook.FIRST_LOGON, False),
        ((), {TAG: "first-logon"}, Hook.FIRST_LOGON, False),
    ],
)
def test_a_tag_goes_before_a_check_and_a_check_before_the_first_way(
    checked: tuple[Hook, ...], tags: dict[str, str], hook: Hook, is_checked: bool
) -> None:
    way = login_way_of(a_store(*checked), "d", tags)
    assert way.hook is hook
    assert (way.check is not None) is is_checked


def test_a_run_says_it_is_unproven_until_its_very_image_was_checked() -> None:
    assert login_way_of(a_store(Hook.SETUP_COMPLETE), "another", {}).notice == UNPROVEN
    notice = login_way_of(a_store(Hook.SETUP_COMPLETE), "d", {}).notice
    assert UNPROVEN not in notice
    for words in ("run 01234567 has logged in to this image", "proven by nobody yet"):
        assert words in notice
