"""A build host is killed in the middle of a real build while another one builds: the other one does both."""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from in_process import GROUP, TEMPLATE, a_template, provisioned, wait_for
from real_fleet import LEASE_SECONDS, RealFleet, real_fleet

from vmkiln.run import cleaning_up
from vmkiln.settings import Settings
from vmkiln.store.database import Store
from vmkiln.store.rows import RunRow

pytestmark = [pytest.mark.vm, pytest.mark.long]
BEGIN_SECONDS, END_SECONDS = 900, 1800
READY_SECONDS = 120
GIVEN_UP_SECONDS = 4 * LEASE_SECONDS  # the machine is busy with two builds
DEAD_SECONDS = 30  # the kernel ends what the host had started
CLEAN_SECONDS = 240  # a janitor looks each minute
DIES, LIVES = "kiln1", "kiln2"
FIRST, SECOND = "this is the first customizer", "the second customizer came behind"
COUNTED = "/var/lib/counted"
TEMPLATES = [f"{TEMPLATE}{number}" for number in (1, 2)]
CUSTOMIZERS = [
    # the host is killed while this one sleeps, so it has run there, and the second one has not
    {"type": "Shell", "name": "first", "inline": [f"echo one | sudo tee -a {COUNTED}", f"echo {FIRST}", "sleep 60"]},
    {"type": "Shell", "name": "second", "inline": [f"echo {SECOND} $(wc -l < {COUNTED}) of the first"]},
]


@pytest.fixture
def homes(prepared: Settings, world: None, tmp_path: Path) -> dict[str, Path]:
    """A state directory for each host; what takes minutes to make is in both."""
    other = tmp_path / DIES
    shutil.copytree(prepared.home / "cache", other / "cache", symlinks=True, copy_function=_linked)
    other.chmod(0o700)
    return {DIES: other, LIVES: prepared.home}


def _linked(source: str, target: str) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:  # another file system
        shutil.copy2(source, target, follow_symlinks=False)


@pytest.fixture
def fleet(homes: dict[str, Path], tmp_path: Path) -> Iterator[RealFleet]:
    with real_fleet(tmp_path, homes) as found:
        yield found


def an_image(number: int) -> str:
    return f"{GROUP}/providers/Microsoft.Compute/images/web{number}"


def host_of(store: Store, run_id: str) -> str:
    """The live host that keeps room for a run; '' for none."""
    names = {host.incarnation: host.name for host in store.hosts.live()}
    return next((names.get(placed.incarnation, "") for placed in store.hosts.placed() if placed.run_id == run_id), "")


def is_given_up(store: Store, name: str) -> bool:
    """Whether somebody gave a host up, and it is not only silent for as long as its lease lasts."""
    return all(host.is_dead for host in store.hosts.all() if host.name == name)


def below(process_id: int) -> dict[int, str]:
    """The processes that descend from one: the start of each by its id, so that none is taken for another."""
    parents: dict[int, tuple[int, str]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it ended
            continue
        if words[0] != "Z":
            parents[int(entry.name)] = (int(words[1]), words[19])
    found: dict[int, str] = {}
    wanted = {process_id}
    while wanted:
        wanted = {child for child, (parent, _) in parents.items() if parent in wanted}
        found |= {child: parents[child][1] for child in wanted}
    return found


def still_there(processes: dict[int, str]) -> list[int]:
    """Those of these processes that have not ended."""
    left = []
    for process_id, start in processes.items():
        try:
            words = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if words[0] != "Z" and words[19] == start:
            left.append(process_id)
    return left


def commands(processes: dict[int, str]) -> str:
    """What these processes run, as far as they go on."""
    told = []
    for process_id in processes:
        try:
            told.append(Path(f"/proc/{process_id}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return "\n".join(told)


def begin(fleet: RealFleet) -> dict[str, str]:
    """Put two templates and have both built; gives each run's template."""
    for number, template in enumerate(TEMPLATES, start=1):
        target = {"type": "ManagedImage", "runOutputName": "out", "imageId": an_image(number), "location": "westus2"}
        provisioned(fleet.service, template, a_template(customize=CUSTOMIZERS, distribute=[target]))
        assert fleet.service.request("POST", f"{template}/run").status_code == 202
    return {fleet.service.service.store.runs.of_template(name)[0].run_id: name for name in TEMPLATES}


def test_a_host_that_dies_in_a_real_build_loses_no_run_and_doubles_none(
    fleet: RealFleet, homes: dict[str, Path]
) -> None:
    service = fleet.service
    store = service.service.store

    def is_live(*names: str) -> bool:
        return {host.name for host in store.hosts.live() if not host.unready} >= {*names}

    wait_for(lambda: is_live(DIES, LIVES), seconds=READY_SECONDS)
    runs = begin(fleet)

    def times(run_id: str, text: str) -> int:
        """How many lines of a run's log, of all its attempts, say this."""
        told = service.get(f"{runs[run_id]}/providers/Vmkiln.Builds/runs/{run_id}/log").json()
        assert told.get("isWhole", True), "all of it is looked through"
        return sum(text in line for line in told.get("lines", ()))

    wait_for(lambda: {host_of(store, run_id) for run_id in runs} == {DIES, LIVES}, seconds=READY_SECONDS)
    by_host = {host_of(store, run_id): run_id for run_id in runs}
    lost, other = by_host[DIES], by_host[LIVES]
    wait_for(lambda: times(lost, FIRST), seconds=BEGIN_SECONDS)
    assert not store.runs.find(other).ended, "it goes on as the host dies"

    dying = fleet.workers[DIES]
    processes = below(dying.pid)
    assert "qemu-system" in commands(processes), "its VMs are seen"
    dying.send_signal(signal.SIGKILL)
    assert dying.wait(60) == -signal.SIGKILL
    wait_for(lambda: not still_there(processes), seconds=DEAD_SECONDS)
    wait_for(lambda: is_given_up(store, DIES), seconds=GIVEN_UP_SECONDS)
    assert times(lost, SECOND) == 0, "the second customizer did not run before"
    assert cleaning_up.remains(Settings(homes[DIES])) == 1, "its folder is still there: only the host itself deletes it"

    wait_for(lambda: all(store.runs.find(run_id).ended for run_id in runs), seconds=END_SECONDS)
    ended: dict[str, RunRow] = {run_id: store.runs.find(run_id) for run_id in runs}
    how = {run_id: (run.state, run.attempt) for run_id, run in ended.items()}
    assert how == {lost: ("Succeeded", 2), other: ("Succeeded", 1)}, [run.message for run in ended.values()]
    assert [host.name for host in store.hosts.live()] == [LIVES]

    counts = {run_id: (times(run_id, FIRST), times(run_id, f"{SECOND} 1 of the first")) for run_id in runs}
    assert counts == {lost: (2, 1), other: (1, 1)}, "the first ran again on a new disk, all else once"
    published = [(image.run_id, image.artifact_id) for image in store.images.list(prefix=f"{GROUP}/")]
    numbers = {template: number for number, template in enumerate(TEMPLATES, start=1)}
    assert sorted(published) == sorted((run_id, an_image(numbers[name])) for run_id, name in runs.items())

    wait_for(lambda: not store.hosts.reservations(), seconds=READY_SECONDS)
    groups = {run_id: store.staging.group(run.staging_group) for run_id, run in ended.items()}
    for run_id, group in groups.items():
        assert group is not None
        assert cleaning_up.leftovers(store, group) == [], run_id
    is_clean(fleet, homes[DIES], [run.staging_group for run in ended.values()])


def is_clean(fleet: RealFleet, home: Path, groups: list[str]) -> None:
    """Start the dead host again: nothing of its run is left then, nor of the groups once their templates are deleted."""
    store = fleet.service.service.store
    fleet.start(DIES)
    wait_for(lambda: DIES in {host.name for host in store.hosts.live()}, seconds=READY_SECONDS)
    wait_for(lambda: cleaning_up.remains(Settings(home)) == 0, seconds=CLEAN_SECONDS)
    assert [path.name for path in (home / "runs").iterdir() if path.is_dir()] == []
    staging = Settings(home).staging
    assert any((staging / group).is_dir() for group in groups), "it has a folder of its run's group"
    for template in TEMPLATES:
        assert fleet.service.request("DELETE", template).status_code in (202, 204)
    wait_for(lambda: not any(store.staging.group(group) for group in groups), seconds=CLEAN_SECONDS)
    wait_for(lambda: not any((staging / group).exists() for group in groups), seconds=CLEAN_SECONDS)
