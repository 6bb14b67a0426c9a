"""What holds for every test: files that it opened are closed when it ends."""

import time
from collections.abc import Iterator

import pytest
from open_files import open_files

GRACE_SECONDS = 5.0  # for threads that are on their way out


@pytest.fixture(autouse=True)
def nothing_stays_open() -> Iterator[None]:
    """A database that stays open keeps its locks until the garbage is collected: in the middle of another test."""
    before = open_files()
    yield
    deadline = time.monotonic() + GRACE_SECONDS
    while (left := open_files() - before) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not left, f"still open: {sorted(left)}"
