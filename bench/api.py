"""How fast the service answers with much in it: 10,000 image templates and 50,000 past runs, over HTTPS.

    python bench/api.py [--templates N] [--runs N]

Prints start-up time, and the median and 99th percentile of reading one template and of a page of a hundred; and of
reading one while another process holds the database's write lock for four seconds, with a run going on (a stand-in,
whose next record waits for the lock) and eight requests that write. Ends with status 1 when a limit is passed: 50 ms
and 200 ms for the 99th percentiles, 3 s for the start.
"""

import argparse
import os
import sqlite3
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx

from vmkiln.api.identity.first_start import DEFAULT_SUBSCRIPTION, owner_file, read_credentials
from vmkiln.store.database import Store, opened
from vmkiln.store.rows import ResourceRow, RunRow

ROOT = Path(__file__).parents[1]
LOCKED = "get, locked"
LIMITS_MS = {"get": 50.0, "page of 100": 200.0, LOCKED: 50.0}
START_SECONDS = 3.0
LOCK_SECONDS = 4.0
PHASE_SECONDS = 1.0  # of the stand-in's run: its record of the next phase waits for the lock
WRITERS = 8
GROUP = f"/subscriptions/{DEFAULT_SUBSCRIPTION}/resourceGroups/bench"
TEMPLATES = f"{GROUP}/providers/Microsoft.VirtualMachineImages/imageTemplates"
SOURCE = {"type": "PlatformImage", "publisher": "Debian", "offer": "debian-12", "sku": "12", "version": "latest"}
PROPERTIES = {
    "source": SOURCE,
    "customize": [{"type": "Shell", "name": f"step {number}", "inline": ["echo hello"] * 5} for number in range(5)],
    "distribute": [{"type": "VHD", "runOutputName": "out"}],
    "provisioningState": "Succeeded",
}


def fill(store: Store, templates: int, runs: int) -> None:
    """Put templates and their past runs into the database."""
    now = datetime.now(UTC)
    common = {"subscription_id": DEFAULT_SUBSCRIPTION, "resource_group": "bench", "location": "local"}
    group = ResourceRow(id=GROUP, type="Microsoft.Resources/resourceGroups", name="bench", **common)
    rows = [
        ResourceRow(
            id=f"{TEMPLATES}/t{number:06}",
            type="Microsoft.VirtualMachineImages/imageTemplates",
            name=f"t{number:06}",
            identity={"type": "None"},
            properties=PROPERTIES,
            state={"api_version": "2025-10-01"},
            **common,
        )
        for number in range(templates)
    ]
    store.resources.put(group)
    store.resources.insert_many(rows)
    store.runs.add_many(
        [
            RunRow(
                run_id=str(uuid.uuid4()),
                template_name=rows[number % templates].name,
                resource_group="bench",
                template={"properties": PROPERTIES},
                state="Succeeded",
                sub_state="",
                message="",
                error_code="",
                staging_group="",
                facts={"reason": "bench"},
                started=now - timedelta(minutes=number),
                ended=now,
                template_id=rows[number % templates].key,
            )
            for number in range(runs)
        ]
    )


def timed(ask: Callable[[], httpx.Response]) -> float:
    """How long an answer takes, in milliseconds."""
    started = time.perf_counter()
    response = ask()
    taken = (time.perf_counter() - started) * 1000
    response.raise_for_status()
    return taken


def spread(taken: Sequence[float]) -> tuple[float, float]:
    """Median and 99th percentile."""
    return statistics.median(taken), statistics.quantiles(taken, n=100)[98]


def measured(ask: Callable[[], httpx.Response], times: int) -> tuple[float, float]:
    """Median and 99th percentile in milliseconds."""
    return spread([timed(ask) for _ in range(times)])


def wait_until(is_so: Callable[[], bool], what: str) -> None:
    """Wait for a minute at most."""
    deadline = time.monotonic() + 60
    while not is_so():
        if time.monotonic() > deadline:
            raise SystemExit(f"{what} did not happen within a minute")
        time.sleep(0.02)


def while_locked(client: httpx.Client, home: Path, one: str) -> tuple[list[float], float]:
    """Read one template while the write lock is held here; returns the times, and the longest that a writer waited."""
    name = f"{TEMPLATES}/runs"
    properties = {key: value for key, value in PROPERTIES.items() if key != "provisioningState"}
    body = {"location": "local", "identity": {"type": "None"}, "properties": properties}

    def state(part: str, of: str = "") -> str:
        found = client.get(name).raise_for_status().json()["properties"]
        return str(((found.get(of) or {}) if of else found).get(part))

    def write(number: int) -> float:
        return timed(lambda: client.put(f"{GROUP}-{number}", json={"location": "local"}))

    client.put(name, json=body).raise_for_status()
    wait_until(lambda: state("provisioningState") == "Succeeded", "provisioning")
    client.post(f"{name}/run").raise_for_status()
    wait_until(lambda: state("runSubState", of="lastRunStatus") == "Building", "a run")
    is_over = threading.Event()
    taken: list[float] = []
    with ThreadPoolExecutor(WRITERS) as writers, sqlite3.connect(home / "vmkiln.sqlite") as database:
        database.execute("BEGIN IMMEDIATE")
        waiting = [writers.submit(write, number) for number in range(WRITERS)]
        threading.Timer(LOCK_SECONDS, is_over.set).start()
        while not is_over.is_set():
            taken.append(timed(lambda: client.get(one)))
        database.rollback()
        longest = max(written.result() for written in waiting)
    database.close()
    wait_until(lambda: state("runState", of="lastRunStatus") == "Succeeded", "the end of the run")
    return taken, longest / 1000


def token(client: httpx.Client, home: Path) -> str:
    """An access token of the service's owner."""
    owner = read_credentials(owner_file(home))
    form = {
        "client_id": owner.app_id,
        "client_secret": owner.secret,
        "grant_type": "client_credentials",
        "scope": "https://management.azure.com/.default",
    }
    return str(
        client.post(f"/{owner.tenant_id}/oauth2/v2.0/token", data=form).raise_for_status().json()["access_token"]
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--templates", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=50_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        with opened(home / "vmkiln.sqlite") as store:
            fill(store, options.templates, options.runs)
        environment = {
            **os.environ,
            "PYTHONPATH": f"{ROOT / 'tests'}:{ROOT}",
            "STUB_PHASE_SECONDS": str(PHASE_SECONDS),
            "VMKILN_MOST_RESOURCES_OF_A_TYPE": str(options.templates + 1),  # more than a service takes unless told
            "VMKILN_MOST_RUNS": str(options.runs + 1),
        }
        started = time.perf_counter()
        command = [sys.executable, "-m", "stub_service", directory]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            try:
                url = process.stdout.readline().strip()
                start_seconds = time.perf_counter() - started
                trust = ssl.create_default_context(cafile=home / "service/tls/ca.pem")
                version = {"api-version": "2025-10-01"}
                with httpx.Client(base_url=url, verify=trust, timeout=60, params=version) as client:
                    client.headers["Authorization"] = f"Bearer {token(client, home)}"
                    one = f"{TEMPLATES}/t{options.templates // 2:06}"
                    found = {
                        "get": measured(lambda: client.get(one), 1000),
                        "page of 100": measured(lambda: client.get(TEMPLATES), 200),
                    }
                    locked, waited_seconds = while_locked(client, home, one)
                    found[LOCKED] = spread(locked)
            finally:
                process.terminate()
    print(f"{options.templates} templates, {options.runs} runs")
    print(f"{'start':<12} {start_seconds:8.2f} s   (limit {START_SECONDS:g} s)")
    for name, (middle, late) in found.items():
        print(f"{name:<12} p50 {middle:7.1f} ms   p99 {late:7.1f} ms   (limit {LIMITS_MS[name]:g} ms)")
    print(f"{'':<12} {len(locked)} answers in {LOCK_SECONDS:g} s, slowest {max(locked):.1f} ms", end="; ")
    print(f"{WRITERS} writers waited for up to {waited_seconds:.2f} s")
    is_good = start_seconds <= START_SECONDS and all(late <= LIMITS_MS[name] for name, (_, late) in found.items())
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
