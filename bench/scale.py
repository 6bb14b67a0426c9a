"""What the queue costs: runs per minute, and CPU per run, with stand-ins for virtual machines that take no time.

    python bench/scale.py [--runs N] [--waiting N ...] [--at-once N ...]

For each number of waiting runs and of runs at once, N runs go through the whole of the service's own work: let in,
recorded, begun, every phase, ended. Ends with status 1 when a run costs more than 150 ms of CPU, or when a queue of
10,000 makes a run more than three times as expensive as a queue of 100.
"""

import argparse
import asyncio
import logging
import sys
import tempfile
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

from vmkiln.run.admission import Room
from vmkiln.run.image_builder import ImageBuilder, queued_run
from vmkiln.settings import Settings
from vmkiln.staging import staging_resource_group
from vmkiln.store.database import Store, opened
from vmkiln.store.rows import ResourceRow

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import stub_build

MOST_CPU_MS = 150.0
MOST_GROWTH = 3.0
SUBSCRIPTIONS = [str(uuid.UUID(int=number)) for number in range(1, 6)]
PROPERTIES = {
    "source": {"type": "PlatformImage", "publisher": "Debian", "offer": "debian-12", "sku": "12", "version": "latest"},
    "customize": [{"type": "Shell", "name": "say", "inline": ["echo hello"]}],
    "distribute": [{"type": "VHD", "runOutputName": "out"}],
    "provisioningState": "Succeeded",
}


def fill(settings: Settings, store: Store, waiting: int) -> None:
    """Templates of five subscriptions, each with a run that waits; all share a staging resource group."""
    staging_resource_group.create(settings.staging, store, name="IT_bench", run_id="", tags={})
    rows = []
    for number in range(waiting):
        subscription = SUBSCRIPTIONS[number % len(SUBSCRIPTIONS)]
        group = f"/subscriptions/{subscription}/resourceGroups/bench"
        rows.append(
            ResourceRow(
                id=f"{group}/providers/Microsoft.VirtualMachineImages/imageTemplates/t{number:06}",
                type="Microsoft.VirtualMachineImages/imageTemplates",
                name=f"t{number:06}",
                subscription_id=subscription,
                resource_group="bench",
                location="local",
                identity={"type": "None"},
                properties=PROPERTIES,
                state={"api_version": "2025-10-01", "staging_group": "IT_bench", "blobs": {}},
            )
        )
    store.resources.insert_many(rows)
    begin = datetime.now(UTC) - timedelta(days=1)
    runs = [queued_run(row, run_id=str(uuid.uuid4()), reason="request") for row in rows]
    store.add_runs(
        [type(run)(**{**vars(run), "started": begin + timedelta(seconds=index)}) for index, run in enumerate(runs)]
    )


async def work(settings: Settings, store: Store, *, at_once: int, wanted: int) -> None:
    """Let the service's own work go on until enough runs have ended."""
    room = Room(2 * at_once, 1024**2, 1024**3)
    builder = ImageBuilder(settings, store, stub_build.stub_build(settings, store), capacity=lambda: room)
    serving = asyncio.create_task(builder.serve())
    while sum(builder.tally.ended.values()) < wanted:  # noqa: ASYNC110
        await asyncio.sleep(0.02)
    states = {state for state, _ in builder.tally.ended}
    assert states == {"Succeeded"}, builder.tally.ended
    serving.cancel()
    await asyncio.wait([serving])


def measure(waiting: int, at_once: int, wanted: int) -> tuple[float, float]:
    """Runs per minute, and CPU per run in ms."""
    with tempfile.TemporaryDirectory(prefix="vmkiln-bench-") as home:
        settings = Settings(Path(home))
        with opened(settings.database) as store:
            fill(settings, store, waiting)
            begin, cpu = time.monotonic(), time.process_time()
            asyncio.run(work(settings, store, at_once=at_once, wanted=wanted))
            return 60 * wanted / (time.monotonic() - begin), 1000 * (time.process_time() - cpu) / wanted


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100, help="runs that go through each time")
    parser.add_argument("--waiting", type=int, nargs="+", default=[100, 1000, 10_000], help="runs that wait at first")
    parser.add_argument("--at-once", type=int, nargs="+", default=[1, 2, 4, 8], help="runs that go on at once")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    stub_build.PHASE_SECONDS = 0.0
    found: dict[tuple[int, int], float] = {}
    print(f"{'waiting':>8} {'at once':>8} {'runs/min':>9} {'CPU ms/run':>11}", flush=True)
    for waiting in options.waiting:
        for at_once in options.at_once:
            per_minute, cpu = measure(waiting, at_once, min(options.runs, waiting))
            found[waiting, at_once] = cpu
            print(f"{waiting:>8} {at_once:>8} {per_minute:>9.0f} {cpu:>11.1f}", flush=True)
    least, most = min(options.waiting), max(options.waiting)
    growth = max(found[most, at_once] / found[least, at_once] for at_once in options.at_once)
    print(f"from {least} to {most} waiting runs, the CPU of a run grows {growth:.1f}-fold at most")
    sys.exit(1 if max(found.values()) > MOST_CPU_MS or growth > MOST_GROWTH else 0)


if __name__ == "__main__":
    main()
