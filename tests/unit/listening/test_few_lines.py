"""Strangers cannot fill the log."""

import logging
from collections.abc import Iterator

import pytest

from vmkiln.listening import few_lines
from vmkiln.listening.few_lines import MOST_KINDS, MOST_LINES, FewLines


@pytest.fixture
def log() -> Iterator[logging.Logger]:
    found = logging.getLogger("tests.few_lines")
    found.addFilter(one := FewLines())
    yield found
    found.removeFilter(one)


def test_of_one_kind_of_line_some_are_written(log: logging.Logger, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(100_000):
        log.warning("nothing from %d", number)
    log.warning("something else")
    assert len(caplog.records) == MOST_LINES + 1


def test_what_was_left_out_is_counted_and_told(
    log: logging.Logger, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(MOST_LINES + 7):
        log.warning("nothing from %s", "there")
    monkeypatch.setattr(few_lines, "ROUND_SECONDS", 0.0)
    log.warning("nothing from %s", "here")
    assert caplog.messages[-1] == "nothing from here (7 lines were left out before)"


def test_kinds_without_number_are_not_remembered(log: logging.Logger) -> None:
    for number in range(10 * MOST_KINDS):
        log.warning(f"made up {number}")
    assert len(log.filters[0]._seen) <= MOST_KINDS + 1  # type: ignore[union-attr]
