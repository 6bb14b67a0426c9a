"""The first line of a failed step's log that differs from that of the last success."""

from pathlib import Path

import pytest

from vmkiln.run.failure.first_difference import Difference, first_difference
from vmkiln.staging.customization_log import CustomizationLog
from vmkiln.staging.logs.log_index import LogIndex

RUN_ID = "0123abcd-0000-4000-8000-000000000000"


def a_log(path: Path, *lines: str) -> Path:
    """A log whose step `install` wrote these lines, behind one line of another step."""
    with CustomizationLog(path, RUN_ID) as log, LogIndex(path) as index:
        for step, texts in (("first", ("begins",)), ("install", lines)):
            index.step = step
            index.note(log.end, 1000.0)
            for text in texts:
                log.write(text, kind="OUT")
    return path


@pytest.mark.parametrize(
    ("now", "then", "found"),
    [
        (["a", "E: gone"], ["a", "b"], (3, "E: gone", "b")),
        (["a", "more"], ["a"], (3, "more", "")),
        (["Fetched 12 kB in 3 s", "stop"], ["Fetched 99 kB in 1 s", "go"], (3, "stop", "go")),
        (["sum 0123456789abcdef"], ["sum fedcba9876543210"], None),
        (["a"], ["a", "b"], None),
        (["a"], [], None),
    ],
)
def test_the_first_line_that_differs_is_told_figures_aside(
    tmp_path: Path, now: list[str], then: list[str], found: tuple[int, str, str] | None
) -> None:
    here, before = a_log(tmp_path / "now.log", *now), a_log(tmp_path / "then.log", *then)
    assert first_difference(here, before, "install") == (None if found is None else Difference(*found))
    assert first_difference(here, tmp_path / "none.log", "install") is None
    assert first_difference(here, before, "other") is None
