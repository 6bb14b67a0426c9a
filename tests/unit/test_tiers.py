"""Two tiers of tests from one code: what is tried follows from the tier and the seed, and a day can be repeated."""

import re
from dataclasses import astuple
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiers
from tiers import (
    LONG,
    SEED,
    SHORT,
    TIER,
    TURNS,
    cheap_examples,
    days,
    examples,
    half,
    least,
    one,
    seed,
    thinned,
    tier,
    today,
)


def test_the_long_tier_tries_at_least_what_the_short_one_does() -> None:
    for short, long in zip(astuple(SHORT)[1:], astuple(LONG)[1:], strict=True):
        assert short <= long or (short, long) == (SHORT.every_nth_call, 1)
    assert LONG.requests == 100_000


def test_without_a_word_the_short_tier_is_run_with_the_days_seed() -> None:
    assert tier({}) is SHORT
    assert tier({TIER: "long"}) is LONG
    assert seed({}) == today()
    assert seed({SEED: "7"}) == 7


@pytest.mark.parametrize("text", ["x", "-1", "1.5", str(2**32)])
def test_a_seed_that_is_none_is_refused_by_its_name(text: str) -> None:
    with pytest.raises(ValueError, match=SEED):
        seed({SEED: text})


def test_a_thinned_list_has_every_part_of_the_whole_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    found, all_of_it = set[int](), range(100)
    monkeypatch.setenv(TIER, SHORT.name)
    for day in range(SHORT.every_nth_call):
        monkeypatch.setenv(SEED, str(20261128 + day))
        part = thinned(all_of_it)
        assert least(100) <= len(part) < 100
        found |= {*part}
    assert found == {*all_of_it}
    assert thinned(range(5)) == range(5)
    monkeypatch.setenv(TIER, LONG.name)
    assert thinned(all_of_it) == all_of_it


def test_a_half_and_the_half_of_another_day_are_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TIER, SHORT.name)
    found = range(9)
    for number in (0, 1):
        days = []
        for day in ("20261128", "20261129"):
            monkeypatch.setenv(SEED, day)
            days.append({*half(found, number)})
            assert {*half(found, number)} | {*half(found, number + 1)} == {*found}
        assert days[0] | days[1] == {*found}
        assert not days[0] & days[1]
    assert half(range(2)) == range(2)
    monkeypatch.setenv(TIER, LONG.name)
    assert half(found) == found


def test_one_is_another_every_day_and_all_are_tried_in_the_long_tier(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TIER, SHORT.name)
    found, days = ["a", "b", "c"], []
    for day in ("20261128", "20261129", "20261130"):
        monkeypatch.setenv(SEED, day)
        days += one(found)
    assert sorted(days) == found
    monkeypatch.setenv(TIER, LONG.name)
    assert one(found) == found


def test_days_have_turns_in_the_whole_suite_and_not_when_one_is_named() -> None:
    assert days({TURNS: "1", SEED: "20261128"}) == ("even",)
    assert days({TURNS: "1", SEED: "20261129"}) == ("odd",)
    assert days({TURNS: "1", SEED: "20261129", TIER: LONG.name}) == ("even", "odd")
    assert days({SEED: "20261129"}) == ("even", "odd")


def test_a_property_has_more_examples_in_the_long_tier(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TIER, SHORT.name)
    assert examples(50) == 50
    assert cheap_examples() == 100
    monkeypatch.setenv(TIER, LONG.name)
    assert examples(50) == 5_000
    assert cheap_examples() == 100_000


def test_each_count_is_told(pytestconfig: pytest.Config) -> None:
    assert f"requests {LONG.requests}" in tiers.counts(LONG)
    assert pytestconfig.getoption("--long") is (tier() is LONG)


@pytest.mark.parametrize(("name", "kept"), [("short", ["quick"]), ("long", ["quick", "slow"])])
def test_what_is_marked_long_is_left_out_of_the_short_tier_and_counted(
    pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch, name: str, kept: list[str]
) -> None:
    conftest = pytestconfig.pluginmanager.get_plugin(str(Path(__file__).parents[1] / "conftest.py"))
    assert conftest is not None
    marks = {"quick": None, "slow": pytest.mark.long}
    items = [SimpleNamespace(name=item, get_closest_marker={"long": mark}.get) for item, mark in marks.items()]
    left_out: list[object] = []

    def pytest_deselected(items: list[object]) -> None:
        left_out.extend(items)

    hook = SimpleNamespace(pytest_deselected=pytest_deselected)
    monkeypatch.setenv(TIER, name)
    conftest.pytest_collection_modifyitems(SimpleNamespace(hook=hook), items)
    assert [item.name for item in items] == kept
    assert len(left_out) == len(marks) - len(kept)


def test_a_long_run_ends_with_a_row_for_the_docs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SEED, "7")
    told = tiers.row(commit="abc", selection="not vm", results={"passed": 3, "failed": 0, "skipped": 1}, seconds=3723.4)
    assert re.fullmatch(
        r"\| \d{4}-\d\d-\d\d \| abc \| 7 \| `not vm` \| \d+ CPUs \| 3 passed, 1 skipped \| 1:02:03 \|", told
    )
