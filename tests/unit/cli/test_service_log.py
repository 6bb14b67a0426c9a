"""The service's log, for people and for machines."""

import json
import logging
from collections.abc import Iterator

import pytest

from vmkiln.cli.commands.serve import LogFormat, set_up_logging


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_json_line_says_when_what_and_of_which_run(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging(LogFormat.JSON)
    logging.getLogger("vmkiln.x").warning('it "broke"\nhere', extra={"run_id": "r1", "attempt": 2})
    [line] = capsys.readouterr().err.splitlines()
    found = json.loads(line)
    assert found.pop("time").startswith("20")
    assert found == {
        "level": "WARNING", "logger": "vmkiln.x", "message": 'it "broke"\nhere', "run_id": "r1", "attempt": 2,
    }  # fmt: skip


def test_an_errors_trace_stays_on_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging(LogFormat.JSON)
    try:
        raise ValueError("why")
    except ValueError:
        logging.getLogger("vmkiln.x").exception("failed")
    [line] = capsys.readouterr().err.splitlines()
    assert "ValueError: why" in json.loads(line)["exc_info"]


def test_text_is_the_default_of_people(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging(LogFormat.TEXT)
    logging.getLogger("vmkiln.x").info("started")
    assert capsys.readouterr().err.strip().endswith("INFO vmkiln.x: started")
