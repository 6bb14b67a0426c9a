"""What gates said of disks, in the database."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from postgresql import cluster

from vmkiln.store.database import Store, opened
from vmkiln.store.gates.verdict_table import VerdictRow, VerdictTable

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ONE = VerdictRow("boot-1", "a" * 64, "run-1", 60.5, NOW)


class Clock:
    """A second goes by with each look."""

    def __init__(self) -> None:
        self.seconds = 0

    def __call__(self) -> datetime:
        self.seconds += 1
        return NOW + timedelta(seconds=self.seconds)


@pytest.fixture(params=["SQLite", "PostgreSQL"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    with contextlib.ExitStack() as stack:
        is_file = request.param == "SQLite"
        place = tmp_path / "db" if is_file else stack.enter_context(cluster()).new_database()
        yield stack.enter_context(opened(place, clock=Clock(), home=tmp_path))


def test_a_verdict_is_known_for_its_gate_and_its_bytes_alone(store: Store) -> None:
    store.verdicts.keep(ONE)
    assert store.verdicts.known(ONE.gate, ONE.digest) == ONE
    assert store.verdicts.known("boot-2", ONE.digest) is None
    assert store.verdicts.known(ONE.gate, "b" * 64) is None
    again = replace(ONE, run_id="run-2", seconds=9.0)
    store.verdicts.keep(again)
    assert store.verdicts.known(ONE.gate, ONE.digest) == again


def test_of_too_many_those_go_that_were_asked_for_least_lately(store: Store) -> None:
    table = VerdictTable(store.connections, most=3)
    for letter in "abc":
        table.keep(replace(ONE, digest=letter * 64))
    assert table.known(ONE.gate, "a" * 64)
    table.keep(replace(ONE, digest="d" * 64))
    known = [letter for letter in "abcd" if table.known(ONE.gate, letter * 64)]
    assert known == ["a", "c", "d"]
