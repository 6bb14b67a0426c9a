"""What a run that repeats another one says: where it begins, why, and what becomes of the failed VM before it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vmkiln.host.host_id import host_id
from vmkiln.run.checkpoints.kept_builds import KeptBuild
from vmkiln.run.checkpoints.prefix import Position
from vmkiln.run.checkpoints.repeating import NO_CACHE, NONE_FITS, sentence
from vmkiln.run_state import RunState
from vmkiln.settings import Settings
from vmkiln.store.database import opened
from vmkiln.store.rows import RunRow

EARLIER = "0123abcd-0000"
KEPT = KeptBuild((Position(1, "1" * 64, "one"),))
HIT: Any = SimpleNamespace(about=SimpleNamespace(position=2))
UNTIL = (datetime.now(UTC) + timedelta(days=1)).isoformat(timespec="seconds")


def said(
    home: Path,
    build: KeptBuild = KEPT,
    hit: Any = None,
    *,
    of: str = EARLIER,
    holder: str = "",
    uses: bool = True,
    count: int = 3,
) -> str:
    settings = Settings(home=home)
    with opened(settings.database) as store:
        if holder:
            host = host_id(settings) if holder == "this" else holder
            row = RunRow(EARLIER, "web", "rg", {}, RunState.FAILED, "", "", "", "", {}, datetime.now(UTC), None)
            store.runs.add(replace(row, facts={"lease": {"until": UNTIL, "size_mib": 1, "host_id": host}}))
        request = SimpleNamespace(retry_of=of, uses_checkpoints=uses)
        staged: Any = SimpleNamespace(request=request, host=SimpleNamespace(settings=settings, store=store))
        return sentence(staged, build, hit, count=count)


def test_a_run_that_repeats_none_says_nothing(tmp_path: Path) -> None:
    assert said(tmp_path, of="") == ""


@pytest.mark.parametrize(
    ("build", "hit", "uses", "end"),
    [
        (KEPT, HIT, True, "customizer 3 of 3, behind what is kept"),
        (KEPT, None, True, f"customizer 1 of 3: {NONE_FITS}"),
        (KEPT, None, False, f"customizer 1 of 3: {NO_CACHE}"),
        (KeptBuild(reason="the tag says so"), None, True, "customizer 1 of 3: the tag says so"),
        (replace(KEPT, reason="from `b` on nothing is kept"), None, True, f"customizer 1 of 3: {NONE_FITS}"),
    ],
)
def test_it_says_where_it_begins_and_why(build: KeptBuild, hit: Any, uses: bool, end: str, tmp_path: Path) -> None:
    assert said(tmp_path, build, hit, uses=uses) == f"this run repeats run 0123abcd, and begins at {end}"


@pytest.mark.parametrize(
    ("hit", "count", "end"),
    [(HIT, 2, "begins behind the last of its customizers (2), as it is kept"), (None, 0, "has no customizers")],
)
def test_it_names_no_customizer_that_is_not_there(hit: Any, count: int, end: str, tmp_path: Path) -> None:
    assert said(tmp_path, hit=hit, count=count) == f"this run repeats run 0123abcd, and {end}"


def test_it_says_that_the_failed_vm_before_it_stays_as_it_is(tmp_path: Path) -> None:
    assert said(tmp_path, hit=HIT, holder="this").endswith(
        f"; the failed VM of that run stays as it is, held until {UNTIL}"
    )


def test_it_says_so_of_one_on_another_host(tmp_path: Path) -> None:
    assert f"stays as it is on another host, held until {UNTIL}" in said(tmp_path, hit=HIT, holder="other")
