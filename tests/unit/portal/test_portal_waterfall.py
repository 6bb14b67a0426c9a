"""Where a run's time went, as bars."""

from datetime import UTC, datetime
from typing import Any

import pytest

from vmkiln.portal.rendering import part
from vmkiln.portal.waterfall import waterfall

NOW = datetime(2026, 1, 1, 0, 1, 40, tzinfo=UTC)


def a_part(kind: str, began: int, end: int | None, **values: Any) -> dict[str, Any]:
    def time(at: int | None) -> str | None:
        return None if at is None else f"2026-01-01T00:{at // 60:02}:{at % 60:02}Z"

    return {"kind": kind, "name": "", "startTime": time(began), "endTime": time(end), "attempt": 1, **values}


def test_each_part_is_a_bar_with_what_is_usual_and_what_it_began_from() -> None:
    parts = [
        a_part("queue", 0, 10),
        a_part("boot", 10, 30, name="build-vm", start="warm", usualSeconds=19.0),
        a_part("customizer", 30, None, name="install"),
    ]
    bars = waterfall({"runState": "Running", "phases": []}, parts, NOW)
    assert [(bar.name, bar.left, bar.width, bar.state) for bar in bars] == [
        ("Waiting", 0, 10, "ok"),
        ("Boot build-vm", 10, 20, "ok"),
        ("install", 30, 70, "live"),
    ]
    assert (bars[1].note, bars[1].usual_seconds) == ("warm", 19.0)
    assert bars[2].end is None


def test_what_a_part_took_is_told_when_it_has_ended() -> None:
    taken = {"cpuSeconds": 12.5, "peakKiB": 2048}
    parts = [a_part("queue", 0, 10), a_part("boot", 10, 30, **taken), a_part("customizer", 30, None, **taken)]
    bars = waterfall({"runState": "Running", "phases": []}, parts, NOW)
    assert [(bar.cpu_seconds, bar.peak_bytes) for bar in bars] == [(None, None), (12.5, 2 * 1024**2), (None, None)]
    page = part("run/time.html", {"bars": bars})
    assert page.count('data-label="CPU">12.5 s</td><td data-label="Memory">2.0 MiB</td>') == 1
    assert page.count('data-label="CPU"></td><td data-label="Memory"></td>') == 2
    assert "CPU" not in part("run/time.html", {"bars": bars[:1]}), "nothing is known of any"


def test_what_is_kept_behind_a_step_has_another_name_than_the_step() -> None:
    parts = [a_part("customizer", 0, 10, name="install"), a_part("checkpoint", 10, 13, name="install")]
    bars = waterfall({"runState": "Running", "phases": []}, parts, NOW)
    assert [bar.name for bar in bars] == ["install", "Kept behind install"]


def test_the_part_that_failed_is_marked_and_not_the_clean_up() -> None:
    parts = [a_part("customizer", 0, 10, name="a"), a_part("cleanUp", 10, 20)]
    assert [bar.state for bar in waterfall({"runState": "Failed", "phases": []}, parts, NOW)] == ["failed", "ok"]
    parts = [a_part("customizer", 0, 5, name="a"), a_part("customizer", 5, 9, name="a", attempt=2)]
    bars = waterfall({"runState": "Canceled", "phases": []}, parts, NOW)
    assert [(bar.name, bar.state) for bar in bars] == [("a (attempt 1)", "ok"), ("a (attempt 2)", "over")]


@pytest.mark.parametrize(
    ("state", "ends", "kind", "states"),
    [
        ("Running", None, "validation", ["ok", "failed", "live"]),
        ("Failed", 30, "validation", ["ok", "failed", "ok", "ok"]),
        ("Canceled", 30, "validation", ["ok", "failed", "over", "ok"]),
        ("Failed", 30, "boot", ["ok", "failed", "ok", "ok"]),
    ],
)
def test_a_failed_validation_is_marked_where_it_is_distributed_all_the_same(
    state: str, ends: int | None, kind: str, states: list[str]
) -> None:
    parts = [a_part("customizer", 0, 10, name="a"), a_part(kind, 10, 20, name="look"), a_part("publish", 20, ends)]
    parts += [a_part("cleanUp", 30, 40)] if ends else []
    run = {"runState": state, "phases": [], "hasFailedValidation": True}
    assert [bar.state for bar in waterfall(run, parts, NOW)] == states
    phases = [{**a_part("", 0, 10), "name": "Validating"}, {**a_part("", 10, 20), "name": "Distributing"}]
    assert waterfall({**run, "phases": phases}, [], NOW)[0].state == "failed"


def test_a_run_without_a_timeline_has_the_bars_of_its_phases() -> None:
    phases = [{"name": "Building", "startTime": "2026-01-01T00:00:00Z", "endTime": None}]
    assert [bar.name for bar in waterfall({"runState": "Running", "phases": phases}, [], NOW)] == ["Building"]
    assert waterfall({"runState": "Queued", "phases": []}, [], NOW) == []
