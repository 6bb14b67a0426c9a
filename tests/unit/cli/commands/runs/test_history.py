"""How long runs took: of the service and of the command line, one by one and by template."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from vmkiln.cli.commands.runs.history import by_name, run_data
from vmkiln.run_state import RunState
from vmkiln.store.rows import RunRow

START = datetime(2026, 11, 28, 12, tzinfo=UTC)


def a_run(name: str, seconds: float | None, state: RunState = RunState.SUCCEEDED, template_id: str = "") -> RunRow:
    ended = None if seconds is None else START + timedelta(seconds=seconds)
    return RunRow("r", name, "rg", {}, state, "", "", "", "", {}, START, ended, template_id)


def test_a_run_tells_who_asked_for_it_and_how_long_it_took() -> None:
    assert run_data(a_run("web", 12.5, template_id="/x"))["by"] == "service"
    forgotten = replace(a_run("web", 12.5), facts={"reason": "request"})
    assert run_data(forgotten)["by"] == "service", "its template was deleted since"
    told = run_data(a_run("web", 12.5))
    assert (told["by"], told["seconds"], told["started"]) == ("command line", 12.5, "2026-11-28T12:00:00.000Z")
    assert run_data(a_run("web", None, RunState.RUNNING))["seconds"] is None


def test_a_template_tells_the_usual_time_of_what_succeeded() -> None:
    rows = [a_run("web", 3, RunState.FAILED), a_run("db", 7), *(a_run("web", seconds) for seconds in (10, 20, 90))]
    web, db = by_name(rows)
    assert (web["template"], web["runs"], web["succeeded"], web["usual_seconds"]) == ("web", 4, 3, 20)
    assert (web["last_seconds"], web["last_state"]) == (3, "Failed")
    assert (db["template"], db["usual_seconds"]) == ("db", 7)
    assert by_name([a_run("web", None, RunState.RUNNING)])[0]["usual_seconds"] is None
