"""What an image builder counts, and what it does with what fails."""

import contextlib
import threading
from pathlib import Path

import pytest

from vmkiln.fleet.image_builder import ImageBuilder
from vmkiln.settings import Settings
from vmkiln.store.database import opened, utc_now
from vmkiln.store.rows import RunRow


def test_a_run_is_counted_once_however_many_ask_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both used to find it uncounted, while the other one still read its phases."""
    with opened(tmp_path / "db") as store:

        async def build(*_: object) -> None:
            raise AssertionError

        builder = ImageBuilder(Settings(tmp_path), store, build)
        now = utc_now()
        store.runs.add(RunRow("r1", "web", "rg", {}, "Succeeded", "", "", "", "", {}, now, utc_now(), ""))
        together = threading.Barrier(2)
        phases_of = store.runs.phases_of

        def slowly(run_id: str) -> object:
            with contextlib.suppress(threading.BrokenBarrierError):  # nobody else came: one after the other
                together.wait(0.5)
            return phases_of(run_id)

        monkeypatch.setattr(store.runs, "phases_of", slowly)
        threads = [threading.Thread(target=lambda: builder.tally) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert dict(builder.tally.ended) == {("Succeeded", ""): 1}
