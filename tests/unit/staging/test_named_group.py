"""A staging resource group is named by its own name, or by the run that it is of."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from vmkiln.errors import InputError
from vmkiln.run_state import RunState
from vmkiln.staging import staging_resource_group
from vmkiln.store.database import Store, opened, utc_now
from vmkiln.store.rows import RunRow

RUNS = {"IT_rg_web_1": "24a9c0de-0", "IT_rg_web_12": "24a9ffff-0", "IT_rg_db_3": "beef0000-0"}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with opened(tmp_path / "db") as store:
        for name, run_id in RUNS.items():
            staging_resource_group.create(tmp_path / "staging", store, name=name, run_id="", tags={})
            row = RunRow(run_id, "web", "rg", {}, RunState.FAILED, "", "", "", name, {}, utc_now(), utc_now())
            store.runs.add(row)
        yield store


@pytest.mark.parametrize(
    ("text", "name"),
    [("IT_rg_web_1", "IT_rg_web_1"), ("IT_rg_d", "IT_rg_db_3"), ("24a9c", "IT_rg_web_1"), ("BEEF0000", "IT_rg_db_3")],
)
def test_a_group_is_found_by_its_name_or_its_run(store: Store, text: str, name: str) -> None:
    assert staging_resource_group.find(store, text).name == name


@pytest.mark.parametrize("text", ["", "IT_rg_web", "24a9", "24a", "dead"])
def test_what_names_none_or_several_is_refused(store: Store, text: str) -> None:
    with pytest.raises(InputError, match="begins"):
        staging_resource_group.find(store, text)
