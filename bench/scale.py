"""What the queue and the durable engine cost, with stand-ins for virtual machines that take no time.

    python bench/scale.py [--runs N] [--waiting N ...] [--workers N ...] [--latency MS ...] [--fleet-runs N ...]

First one service: for each number of waiting runs, N runs go through the whole of its own work (let in, recorded,
begun, every phase, settled, ended), several at once. Then a fleet: runs per minute through 1, 2, 4 and 8 workers,
each a process of its own, with one PostgreSQL that is 0, 20 and 200 ms away. Its own extension pg_stat_statements
counts what was asked of it meanwhile, looks for work among it: the slower a fleet, the more of those for each run.
So with the CPU of the workers: what they use while nothing waits is measured before, and what a run costs is told with
it and without.
`--fleet-runs` has a number for each latency; `--waiting` without numbers leaves the first part out.

Ends with status 1 when a run costs more than 100 ms of CPU, or when a queue of 10,000 makes a run more than three
times as expensive as a queue of 100.
"""

import argparse
import asyncio
import dataclasses
import logging
import os
import subprocess
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from vmkiln.fleet.image_builder import ImageBuilder
from vmkiln.run.room import Room
from vmkiln.settings import Settings
from vmkiln.staging import staging_resource_group
from vmkiln.store.database import Store, opened
from vmkiln.store.engine import database_url

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import stub_build
from distant_database import distant
from orphan_guard import ended_by_signals
from postgresql import cluster
from waiting_runs import add_waiting_runs

ROOT = Path(__file__).parents[1]
WORKER_CPUS = 8  # room for four runs
IDLE_SECONDS = 10  # how long workers are watched that have nothing to do
SETTLING_SECONDS = 3  # what follows upon the end of a run is over
TICKS = os.sysconf("SC_CLK_TCK")

# of all but what this program asks while it waits
ASKED = sa.text(
    "SELECT sum(calls) AS statements, coalesce(sum(calls) FILTER (WHERE query = 'COMMIT'), 0) AS commits "
    "FROM pg_stat_statements WHERE query NOT LIKE '%count(*) AS runs FROM vmkiln_run%' "
    "AND query NOT LIKE '%pg_stat_statements%'"
)
ENDED = sa.text("SELECT state, count(*) AS runs FROM vmkiln_run WHERE ended IS NOT NULL GROUP BY state")
MOST_CPU_MS = 100.0
MOST_GROWTH = 3.0
SUBSCRIPTIONS = [str(uuid.UUID(int=number)) for number in range(1, 6)]
PROPERTIES = {
    "source": {"type": "PlatformImage", "publisher": "Debian", "offer": "debian-12", "sku": "12", "version": "latest"},
    "customize": [{"type": "Shell", "name": "say", "inline": ["echo hello"]}],
    "distribute": [{"type": "VHD", "runOutputName": "out"}],
    "provisioningState": "Succeeded",
}


def fill(settings: Settings, store: Store, waiting: int, *, first: int = 0) -> None:
    """Templates of five subscriptions, each with a run that waits; all share a staging resource group."""
    if not first:
        staging_resource_group.create(settings.staging, store, name="IT_bench", run_id="", tags={})
    add_waiting_runs(
        store,
        range(first, first + waiting),
        subscriptions=SUBSCRIPTIONS,
        properties=PROPERTIES,
        resource_group="bench",
        staging_group="IT_bench",
    )


def ended(looking: sa.Connection) -> int:
    """How many runs have ended; asked so that it costs next to nothing beside what is measured."""
    counts = {row.state: row.runs for row in looking.execute(ENDED)}
    assert set(counts) <= {"Succeeded"}, counts
    return sum(counts.values())


async def work(settings: Settings, store: Store, *, at_once: int, wanted: int) -> None:
    """Let the service's own work go on until enough runs have ended."""
    room = Room(2 * at_once, 1024**2, 1024**3)
    builder = ImageBuilder(settings, store, stub_build.stub_build(settings, store), capacity=lambda: room)
    serving = asyncio.create_task(builder.serve())
    with by_itself(sa.create_engine(f"sqlite:///{settings.database}")) as looking:
        while ended(looking) < wanted:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
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


def cpu_seconds(process: "subprocess.Popen[bytes]") -> float:
    """What a process has used so far (proc(5), utime and stime)."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def by_itself(database: sa.Engine) -> sa.Connection:
    """A connection whose statements are each by themselves: the begin and the end of others would be counted, too."""
    return database.connect().execution_options(isolation_level="AUTOCOMMIT")


def until_ended(looking: sa.Connection, wanted: int) -> None:
    """Wait until so many runs have ended."""
    while ended(looking) < wanted:
        time.sleep(0.05)


@dataclass(frozen=True)
class Cost:
    """What a fleet does in a minute, and what a run costs: CPU of the workers in ms, what is asked of the database.

    `idle_ms` is the part of `cpu_ms` that the workers use in that time when nothing waits.
    """

    runs_a_minute: float
    cpu_ms: float
    idle_ms: float
    statements: float
    transactions: float


def asked(looking: sa.Connection) -> tuple[int, int]:
    """How many statements the server has carried out, and how many of them were commits."""
    row = looking.execute(ASKED).one()
    return int(row.statements), int(row.commits)


def fleet(workers: int, runs: int, latency_ms: float) -> Cost:
    """What so many workers do and cost; the first runs warm them up."""
    warm = workers if latency_ms else 4 * workers
    with (
        cluster(settings=("-c", "shared_preload_libraries=pg_stat_statements")) as server,
        tempfile.TemporaryDirectory(prefix="vmkiln-bench-") as directory,
        distant(server.directory / ".s.PGSQL.5432", latency_ms / 1000) as port,
    ):
        home = Path(directory)
        near = server.new_database()
        name = near.split("/")[3].partition("?")[0]
        (home / "shared").mkdir()
        environment = {
            **os.environ,
            "PYTHONPATH": f"{ROOT / 'tests'}:{ROOT}",
            "VMKILN_DATABASE_URL": f"postgresql://vmkiln@127.0.0.1:{port}/{name}",
            "VMKILN_OBJECT_STORE": (home / "shared").as_uri(),
            "STUB_CPUS": str(WORKER_CPUS),
            "STUB_JOURNAL": str(home / "journal"),
            "LEASE_SECONDS": "60",
            "PHASE_SECONDS": "0",
        }
        settings = Settings(home / "service", object_store=environment["VMKILN_OBJECT_STORE"])
        with opened(near, home=settings.home) as store, by_itself(sa.create_engine(database_url(near))) as looking:
            looking.execute(sa.text("CREATE EXTENSION pg_stat_statements"))
            fill(settings, store, warm)
            commands = [[sys.executable, "-m", "stub_worker", str(home / f"w{n}"), f"w{n}"] for n in range(workers)]
            processes = [subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) for command in commands]
            try:
                until_ended(looking, warm)
                time.sleep(SETTLING_SECONDS)
                idle = sum(map(cpu_seconds, processes))
                time.sleep(IDLE_SECONDS)
                idle = (sum(map(cpu_seconds, processes)) - idle) / IDLE_SECONDS
                fill(settings, store, runs, first=warm)
                begin, cpu, before = time.monotonic(), sum(map(cpu_seconds, processes)), asked(looking)
                until_ended(looking, warm + runs)
                seconds, after = time.monotonic() - begin, asked(looking)
                cpu = sum(map(cpu_seconds, processes)) - cpu
            finally:
                for process in processes:
                    process.terminate()
                for process in processes:
                    process.wait(60)
    statements, commits = ((after[n] - before[n]) / runs for n in range(2))
    return Cost(60 * runs / seconds, 1000 * cpu / runs, 1000 * idle * seconds / runs, statements, commits)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100, help="runs that go through each time")
    parser.add_argument("--waiting", type=int, nargs="*", default=[100, 1000, 10_000], help="runs that wait at first")
    parser.add_argument("--at-once", type=int, nargs="+", default=[1, 8], help="runs that go on at once")
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2, 4, 8], help="workers of the fleet")
    parser.add_argument("--latency", type=float, nargs="+", default=[0, 20, 200], help="ms to the database and back")
    parser.add_argument("--fleet-runs", type=int, nargs="+", default=[200, 60, 16], help="runs, for each latency")
    options = parser.parse_args()
    ended_by_signals()
    logging.disable(logging.WARNING)
    stub_build.PHASE_SECONDS = 0.0
    found: dict[tuple[int, int], float] = {}
    print(f"{'waiting':>8} {'at once':>8} {'runs/min':>9} {'CPU ms/run':>11}", flush=True)
    for waiting in options.waiting:
        for at_once in options.at_once:
            per_minute, cpu = measure(waiting, at_once, min(options.runs, waiting))
            found[waiting, at_once] = cpu
            print(f"{waiting:>8} {at_once:>8} {per_minute:>9.0f} {cpu:>11.1f}", flush=True)
    growth = 0.0
    if options.waiting:
        least, most = min(options.waiting), max(options.waiting)
        growth = max(found[most, at_once] / found[least, at_once] for at_once in options.at_once)
        print(f"from {least} to {most} waiting runs, the CPU of a run grows {growth:.1f}-fold at most")
    columns = ("latency", "workers", "runs/min", "CPU ms/run", "idle ms", "statements", "commits")
    heads = "".join(f"{column:>12}" for column in columns)
    print(f"\n{heads}", flush=True)
    for latency, runs in zip(options.latency, options.fleet_runs, strict=False):
        for workers in options.workers:
            cost = fleet(workers, runs, latency)
            if not latency:
                found[0, workers] = cost.cpu_ms
            cells = (latency, workers, *dataclasses.astuple(cost))
            print("".join(f"{cell:>12.0f}" for cell in cells), flush=True)
    sys.exit(1 if max(found.values(), default=0.0) > MOST_CPU_MS or growth > MOST_GROWTH else 0)


if __name__ == "__main__":
    main()
