"""The pace and the amount of what a container group may write."""

import pytest

from vmkiln.run_failures import NotBelieved
from vmkiln.staging.output_limit import OutputLimit


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long it was waited, without waiting: the clock goes on by as much."""
    found: list[float] = []

    async def sleep(seconds: float) -> None:
        found.append(seconds)

    monkeypatch.setattr("vmkiln.staging.output_limit.asyncio.sleep", sleep)
    monkeypatch.setattr("vmkiln.staging.output_limit._now", lambda: 1000.0 + sum(found))
    return found


async def test_a_flood_is_read_no_faster_than_the_pace(slept: list[float]) -> None:
    limit = OutputLimit(most_bytes=10**9, bytes_per_second=100)
    for _ in range(100):
        await limit.passed(50)
    assert sum(slept) == pytest.approx(49.0), "5,000 bytes at 100 a second, the first second's at once"


async def test_what_a_step_says_is_not_held_up(slept: list[float]) -> None:
    limit = OutputLimit(most_bytes=10**9, bytes_per_second=100)
    await limit.passed(100)
    assert slept == []


async def test_what_is_too_much_in_all_is_refused(slept: list[float]) -> None:
    limit = OutputLimit(most_bytes=100, bytes_per_second=1000)
    await limit.passed(100)
    with pytest.raises(NotBelieved, match="wrote more than 100 bytes of log in one phase"):
        await limit.passed(1)
