"""What the resolver says is read as what it is: the words of a program that hostile bytes reach."""

import json
from dataclasses import asdict
from typing import Any

import pytest

from vmkiln.host.egress.resolver_program import MOST_TOLD_ADDRESSES, Told
from vmkiln.host.network.resolver import MOST_TOLD_LETTERS, told_of

TOLD = Told(1.5, "10.0.1.4", "deb.debian.org", "A", "NOERROR", ("203.0.113.10",), "allowed")


def test_a_report_is_read() -> None:
    assert told_of(json.dumps(asdict(TOLD))) == TOLD


@pytest.mark.parametrize(
    "change",
    [
        {"time": "now"},
        {"time": True},
        {"time": 1e300},
        {"time": -1.0},
        {"time": float("nan")},
        {"name": 7},
        {"name": "x" * (MOST_TOLD_LETTERS + 1)},
        {"addresses": "203.0.113.10"},
        {"addresses": [7]},
        {"verdict": None},
    ],
)
def test_what_is_no_report_counts_for_nothing(change: dict[str, Any]) -> None:
    assert told_of(json.dumps({**asdict(TOLD), **change})) is None


@pytest.mark.parametrize("line", ["", "[]", "{}", "[" * 10000, "ready", '{"time": 1'])
def test_noise_counts_for_nothing(line: str) -> None:
    assert told_of(line) is None


def test_of_many_addresses_the_first_are_kept() -> None:
    many = {**asdict(TOLD), "addresses": ["203.0.113.10"] * 1000}
    told = told_of(json.dumps(many))
    assert told is not None
    assert len(told.addresses) == MOST_TOLD_ADDRESSES
