"""Fixtures of the tests of the API: a service in this process."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from in_process import OTHER_SUBSCRIPTION, SUBSCRIPTION, RecordedWork, Service, TestAccess, started

from vmkiln.store.database import opened


@pytest.fixture
def access() -> TestAccess:
    """`owner`, `contributor` and `reader` of SUBSCRIPTION, `stranger` owns the other one, `root` owns all."""
    here, there = f"/subscriptions/{SUBSCRIPTION}", f"/subscriptions/{OTHER_SUBSCRIPTION}"
    return TestAccess(
        {
            "owner": [("Owner", here)],
            "contributor": [("Contributor", here)],
            "reader": [("Reader", here)],
            "stranger": [("Owner", there)],
            "root": [("Owner", "/")],
        }
    )


@pytest.fixture
def service(tmp_path: Path, access: TestAccess) -> Iterator[Service]:
    """A service whose own work is only recorded."""
    with opened(tmp_path / "vmkiln.sqlite") as store:
        yield started(store, tmp_path, access, RecordedWork())
