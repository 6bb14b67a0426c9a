"""Where a run's time went."""

from vmkiln.cli.waterfall import BAR_LETTERS, waterfall

PHASES = [
    {"name": "Building", "started": "2026-01-01T00:00:00.000Z", "ended": "2026-01-01T00:00:10.000Z", "seconds": 10.0},
    {
        "name": "Customizing",
        "started": "2026-01-01T00:00:10.000Z",
        "ended": "2026-01-01T00:00:40.000Z",
        "seconds": 30.0,
    },
    {"name": "CleaningUp", "started": "2026-01-01T00:00:40.000Z", "ended": "2026-01-01T00:00:40.000Z", "seconds": 0.0},
]


def test_bars_follow_each_other_and_have_the_phases_lengths() -> None:
    building, customizing, cleaning_up, total = waterfall(PHASES)
    assert building.count("█") == BAR_LETTERS // 4
    assert customizing.count("█") == BAR_LETTERS * 3 // 4
    assert building.rindex("█") < customizing.index("█")
    assert cleaning_up.count("█") == 1
    assert total.endswith("40.0 s")


def test_a_phase_that_lasts_is_left_out() -> None:
    assert waterfall([{**PHASES[0], "ended": None, "seconds": None}]) == []
