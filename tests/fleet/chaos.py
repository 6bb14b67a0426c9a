"""Runs go through a fleet while its hosts are killed, frozen, cut off, and its database is restarted.

    unshare --user --map-current-user --keep-caps --net --mount \\
        python tests/fleet/chaos.py DIRECTORY [RUNS] [ROUNDS] [SEED]

Prints what was seen as JSON, and the table of docs/fleet.md on standard error.
"""

import json
import random
import signal
import sys
import threading
import time
import uuid
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
import tiers
from fleet.small_fleet import CPUS, LEASE_SECONDS, BuildHost, Fleet, small_fleet
from waiting_runs import add_waiting_runs

from vmkiln.errors import VmkilnError
from vmkiln.settings import Settings
from vmkiln.sharing.shared_storage import shared_storage
from vmkiln.staging import staging_resource_group
from vmkiln.store.database import Store, opened
from vmkiln.store.rows import ResourceRow
from vmkiln.waiting.patience import Patience

SUBSCRIPTIONS = [str(uuid.UUID(int=number)) for number in range(1, 4)]
GALLERY = f"/subscriptions/{SUBSCRIPTIONS[0]}/resourceGroups/rg/providers/Microsoft.Compute/galleries/g/images/d"
PROPERTIES = {
    "source": {"type": "PlatformImage", "publisher": "Debian", "offer": "debian-12", "sku": "12", "version": "latest"},
    "customize": [{"type": "Shell", "name": "publish", "inline": ["publish"]}],
    "distribute": [
        {"type": "SharedImage", "runOutputName": "out", "galleryImageId": GALLERY, "replicationRegions": ["westus2"]}
    ],
    "provisioningState": "Succeeded",
}
FAULTS = ("kill -9", "frozen", "cut off", "database restarted")
LONG = 1.7 * LEASE_SECONDS  # longer than a lease
MOST_TAKE_OVER_SECONDS = 60.0
MOST_SECONDS = 240.0 * tiers.tier().chaos_rounds


@dataclass
class Seen:
    """What was watched: how much room hosts kept at most, and how long each fault's runs took to find another host."""

    most_cpus: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    faults: list[tuple[str, int, float]] = field(default_factory=list)


def prepare(settings: Settings, store: Store) -> None:
    """What all templates share: a staging resource group, and an image definition."""
    for subscription in SUBSCRIPTIONS:  # an image's resource group is there before it is published
        store.resources.put(
            ResourceRow(
                id=f"/subscriptions/{subscription}/resourceGroups/rg",
                type="Microsoft.Resources/resourceGroups",
                name="rg",
                subscription_id=subscription,
                resource_group="rg",
                location="local",
                properties={"provisioningState": "Succeeded"},
            )
        )
    staging_resource_group.create(settings.staging, store, name="IT_fleet", run_id="", tags={})
    shared = shared_storage(settings, store)
    assert shared is not None
    shared.push_submission("IT_fleet")
    store.images.define(GALLERY, os_type="Linux", generation=1)


def fill(store: Store, numbers: range) -> list[str]:
    """Templates of three subscriptions with a run each that waits; gives the runs' ids."""
    return add_waiting_runs(
        store,
        numbers,
        subscriptions=SUBSCRIPTIONS,
        properties=PROPERTIES,
        resource_group="rg",
        staging_group="IT_fleet",
    )


def watch(fleet: Fleet, store: Store, seen: Seen, is_over: threading.Event) -> None:
    """Start hosts again that ended, and sum up what each keeps, until it is over."""
    while not is_over.wait(0.1):
        for host in fleet.hosts:
            host.again_if_ended()
        try:
            kept: Counter[str] = Counter()
            for row in store.hosts.reservations():
                kept[row.incarnation] += row.cpus
        except VmkilnError:
            continue  # the database is being restarted
        for incarnation, cpus in kept.items():
            seen.most_cpus[incarnation] = max(seen.most_cpus[incarnation], cpus)


def incarnation_of(store: Store, host: BuildHost) -> str:
    return next((row.incarnation for row in store.hosts.all() if row.name == host.name), "")


def busiest(fleet: Fleet, store: Store) -> BuildHost:
    """The host that has the most runs, waiting a little for one that has any."""
    deadline = time.monotonic() + 10
    while True:
        kept = Counter(row.incarnation for row in store.hosts.reservations())
        found = max(fleet.hosts, key=lambda host: kept[incarnation_of(store, host)])
        if kept[incarnation_of(store, found)] or time.monotonic() > deadline:
            return found
        time.sleep(0.1)


def strike(fleet: Fleet, store: Store, fault: str, host: BuildHost) -> tuple[int, float]:
    """One fault; returns how many runs it met, and after how many seconds none of them was that host's any more."""
    incarnation = incarnation_of(store, host)
    met = {placed.run_id for placed in store.hosts.placed(incarnation=incarnation)}
    begin = time.monotonic()
    match fault:
        case "kill -9":
            host.send(signal.SIGKILL)
        case "frozen":
            host.send(signal.SIGSTOP)
        case "cut off":
            host.cut_off(True)
        case _:
            fleet.server.control("-m", "immediate", "restart")
            return len(met), time.monotonic() - begin
    taken = 0.0
    while (elapsed := time.monotonic() - begin) < LONG or (met and not taken and elapsed < MOST_TAKE_OVER_SECONDS):
        time.sleep(0.05)
        if not taken and not {placed.run_id for placed in store.hosts.placed(incarnation=incarnation)} & met:
            taken = time.monotonic() - begin
    if fault == "frozen":
        host.send(signal.SIGCONT)
    if fault == "cut off":
        host.cut_off(False)
    return len(met), taken or float("inf")


def concurrency(journal: Path) -> dict[str, int]:
    """How many builds each incarnation went through at once, at most, by its own word."""
    now: dict[str, set[str]] = defaultdict(set)
    most: dict[str, int] = defaultdict(int)
    for line in journal.read_text().splitlines():
        _, what, incarnation, run_id, attempt = line.split()
        (now[incarnation].add if what == "begin" else now[incarnation].discard)(f"{run_id}-{attempt}")
        most[incarnation] = max(most[incarnation], len(now[incarnation]))
    return dict(most)


def left_by(fleet: Fleet) -> list[str]:
    """What the hosts have of runs, their own marks among it."""
    return [str(path) for host in fleet.hosts for path in (host.home / "runs").glob("*")]


def chaos(fleet: Fleet, settings: Settings, store: Store, count: int, *, rounds: int, seed: int) -> dict[str, Any]:
    """The whole of it; returns what was seen."""
    chosen = random.Random(seed)  # noqa: S311
    call = Patience().call  # this process, too, meets the restart of the database
    prepare(settings, store)
    seen, is_over = Seen(), threading.Event()
    watching = threading.Thread(target=watch, args=(fleet, store, seen, is_over))
    watching.start()
    begin = time.monotonic()
    try:
        order = [fault for fault in FAULTS for _ in range(rounds)]
        chosen.shuffle(order)
        ids: list[str] = []
        for number, fault in enumerate(order):  # each fault meets runs, however fast they are
            ids += call(fill, store, range(count * number // len(order), count * (number + 1) // len(order)))
            while not fleet.journal.exists():
                time.sleep(0.1)
            time.sleep(chosen.uniform(0.5, 1.5))
            seen.faults.append((fault, *strike(fleet, store, fault, call(busiest, fleet, store))))
        while time.monotonic() - begin < MOST_SECONDS:
            # a host that ended itself a moment ago has to come back before it can put its runs away
            if all(run.ended for run in call(store.runs.by_id, ids).values()) and not left_by(fleet):
                break
            time.sleep(0.2)
        seconds = time.monotonic() - begin
    finally:
        is_over.set()  # also when this fails, which would be told by nobody while the thread goes on
        watching.join()
    runs = store.runs.by_id(ids)
    images = store.images.list(prefix=f"{GALLERY}/versions/")
    shared = shared_storage(settings, store)
    assert shared is not None
    shared.reconcile()
    objects = list((fleet.directory / "shared" / "images").rglob("*.qcow2"))  # notes lie beside them
    return {
        "runs": count,
        "seconds": seconds,
        "states": Counter(run.state for run in runs.values()),
        "attempts": Counter(int(run.facts.get("attempt", 1)) for run in runs.values()),
        "messages": sorted({run.message for run in runs.values() if run.message}),
        "images": Counter(Counter(image.run_id for image in images).values()),
        "strangers": sorted({image.run_id for image in images} - set(ids)),
        "outputs": Counter(len(store.images.outputs_of(run_id)) for run_id in ids),
        "objects": len(objects),
        "most_cpus": max(seen.most_cpus.values()),
        "most_at_once": max(concurrency(fleet.journal).values()),
        "room_for": CPUS // 2,
        "kept_at_the_end": len(store.hosts.reservations()),
        "incarnations": len(seen.most_cpus),
        "exits": Counter(str(end) for host in fleet.hosts for end in host.ends),
        "lease_seconds": LEASE_SECONDS,
        "faults": seen.faults,
    }


def table(found: dict[str, Any]) -> str:
    """The table of docs/fleet.md."""
    lines = ["| fault | times | runs it met | taken over after, at most |", "|---|---|---|---|"]
    for fault in FAULTS:
        mine = [item for item in found["faults"] if item[0] == fault]
        after = "they go on" if fault == FAULTS[-1] else f"{max(item[2] for item in mine):.1f} s"
        lines.append(f"| {fault} | {len(mine)} | {sum(item[1] for item in mine)} | {after} |")
    return "\n".join(lines)


def main() -> None:
    directory = Path(sys.argv[1])
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 60
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    seed = int(sys.argv[4]) if len(sys.argv) > 4 else tiers.seed()
    with small_fleet(directory) as fleet:
        settings = Settings(directory / "home", database_url=fleet.url, object_store=(directory / "shared").as_uri())
        with opened(fleet.url, home=settings.home) as store:
            found = chaos(fleet, settings, store, count, rounds=rounds, seed=seed)
    found["left"] = left_by(fleet)
    sys.stderr.write(table(found) + "\n")
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
