"""An empty database of each kind that vmkiln keeps its records in, for tests that both have to pass."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from postgresql import Cluster, cluster

from vmkiln.store.database import Store, opened

__all__ = ["server", "store"]  # the fixtures: a test module imports both


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    with cluster() as found:
        yield found


@pytest.fixture(params=["SQLite", "PostgreSQL"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    place = tmp_path / "db" if request.param == "SQLite" else request.getfixturevalue("server").new_database()
    with opened(place) as found:
        yield found
