"""A run's timeline as lines."""

from typing import Any

from vmkiln.cli.view.waterfall import label, timeline_lines, unended_lines, waterfall


def part(kind: str, name: str, began: int, end: int | None, **more: Any) -> dict[str, Any]:
    def at(seconds: int) -> str:
        return f"2026-01-01T00:{seconds // 60:02}:{seconds % 60:02}.000Z"

    known = {"cpu_seconds": None, "peak_kib": None, "usual_seconds": None, "start": "cold", "attempt": 1}
    ended, seconds = (None, None) if end is None else (at(end), float(end - began))
    return {"kind": kind, "name": name, "started": at(began), "ended": ended, "seconds": seconds, **known, **more}


def test_each_part_has_its_bar_its_costs_and_what_is_usual() -> None:
    lines = timeline_lines([
        part("boot", "build-vm", 0, 30, cpu_seconds=29.5, peak_kib=2048, usual_seconds=31.04, start="warm"),
        part("customizer", "install", 30, 40),
        part("cleanUp", "", 40, None),
    ])  # fmt: skip
    assert lines == [
        f"boot build-vm {'█' * 30:<40}    30.0 s  cpu    29.5 s  peak      2 MiB  usually    31.0 s  warm",
        f"install       {' ' * 30 + '█' * 10}    10.0 s  cpu         -  peak          -  usually         -",
        f"total         {'':40}    40.0 s",
    ]
    assert timeline_lines([]) == []


def test_what_goes_on_and_what_a_process_died_in_are_told_apart() -> None:
    parts = [part("boot", "build-vm", 0, 30), part("customizer", "install", 30, None)]
    parts.append(part("customizer", "install", 60, None, attempt=2))
    died = "no end of it is on record: its process died"
    first = f"install (attempt 1, since 2026-01-01T00:00:30.000Z): {died}"
    second = "install (attempt 2, since 2026-01-01T00:01:00.000Z)"
    assert unended_lines(parts, goes_on=True) == [first, f"{second}: goes on"]
    assert unended_lines(parts, goes_on=False) == [first, f"{second}: {died}"]
    assert unended_lines(parts[:1], goes_on=False) == unended_lines([], goes_on=True) == []


def test_a_summary_shows_its_timeline_and_an_older_one_its_phases() -> None:
    phases = [part("", "Building", 0, 10)]
    assert [line.split()[0] for line in waterfall({"phases": phases, "timeline": []})] == ["Building", "total"]
    assert [line.split()[0] for line in waterfall({"phases": phases})] == ["Building", "total"]
    found = waterfall({"phases": phases, "timeline": [part("powerOff", "", 0, 10)]})
    assert [line.split()[0] for line in found] == ["power-off", "total"]


def test_a_name_is_made_harmless_and_short() -> None:
    assert label(part("customizer", "a\x1b[2Jb", 0, 1)) == "a\\x1b[2Jb"
    assert label(part("publish", "x" * 90, 0, 1)) == f"publish {'x' * 23}…"
