"""What is usual for a part."""

from datetime import UTC, datetime, timedelta

from vmkiln.run.timeline.comparison import usual_seconds
from vmkiln.run_state import PartKind
from vmkiln.store.timeline.part_table import PartRow

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def part(name: str, seconds: float | None, *, attempt: int = 1) -> PartRow:
    ended = None if seconds is None else NOW + timedelta(seconds=seconds)
    return PartRow("r", attempt, 0, PartKind.CUSTOMIZER, name, NOW, ended)


def test_what_is_usual_is_the_median_of_the_runs_last_attempts() -> None:
    runs = [
        [part("a", 99), part("a", 1, attempt=2), part("b", 5)],
        [part("a", 3), part("b", None)],
        [part("a", 100)],
    ]
    kind = PartKind.CUSTOMIZER
    assert usual_seconds(runs) == {(kind, "a"): 3, (kind, "b"): 5}
    assert usual_seconds([]) == {}
