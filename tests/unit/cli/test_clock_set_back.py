"""The host's clock is set while a run goes on, or later: nothing takes less than nothing, and nothing is to come."""

import json
import re
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from vmkiln.cli.main import app
from vmkiln.fleet.tally import Tally
from vmkiln.platform_images.image_cache import SourceImage
from vmkiln.portal.rendering import lasted
from vmkiln.run_state import Phase, RunState
from vmkiln.settings import Settings
from vmkiln.store.database import Store, opened, utc_now
from vmkiln.store.rows import PhaseRow, RunRow

BACK = timedelta(hours=1)
COMMANDS = (("run", "list"), ("history",), ("history", "--by-template"), ("run", "show"))


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run in whose first phase the clock was set an hour back."""
    monkeypatch.setenv("VMKILN_HOME", str(tmp_path))
    now = utc_now()
    with opened(Settings(tmp_path).database, clock=lambda: now) as begun:
        begun.runs.add(RunRow("0123", "web", "rg", {}, RunState.RUNNING, "", "", "", "", {}, now, None))
        begun.runs.begin_phase("0123", Phase.BUILDING)
    with opened(Settings(tmp_path).database, clock=lambda: now - BACK) as ended:
        end(ended)


def end(store: Store) -> None:
    store.runs.begin_phase("0123", Phase.CLEANING_UP)
    assert store.runs.move("0123", expected=[RunState.RUNNING], state=RunState.SUCCEEDED)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_no_run_took_less_than_nothing(words: tuple[str, ...]) -> None:
    told = CliRunner().invoke(app, list(words))
    assert told.exit_code == 0, told.exception
    assert "web" in told.stdout or "Succeeded" in told.stdout
    assert not re.search(r"-\d+(\.\d)? s", told.stdout), told.stdout
    as_json = CliRunner().invoke(app, [*words, "--json"])
    assert not re.search(r'seconds": -', json.dumps(json.loads(as_json.stdout)))


def test_nothing_else_has_a_length_or_an_age_below_nothing() -> None:
    now = utc_now()
    tally = Tally()
    run = RunRow("1", "web", "rg", {}, RunState.SUCCEEDED, "", "", "", "", {}, now, now - BACK)
    tally.count(run, [PhaseRow(Phase.BUILDING, now, now - BACK)])
    assert tally.phase_seconds == {Phase.BUILDING: 0.0}
    assert lasted(now.isoformat(), (now - BACK).isoformat()) == "0.0 s"
    image = SourceImage("a:b:c", "1", Path("disk"), "raw", "0", 1, "Linux", 1, "made", now)
    assert image.age_days(now - BACK) == 0.0
