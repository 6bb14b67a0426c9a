"""A build host is killed in the middle of a real build while another one builds: the other one does both."""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from in_process import GROUP, TEMPLATE, a_template, provisioned, wait_for
from real_fleet import RealFleet, real_fleet

from vmkiln.run import cleaning_up
from vmkiln.settings import Settings
from vmkiln.store.database import opened

pytestmark = [pytest.mark.vm, pytest.mark.long]
BEGIN_SECONDS, END_SECONDS = 900, 1800
DIES, LIVES = "kiln1", "kiln2"
BEGUN = "the first customizer"
TEMPLATES = [f"{TEMPLATE}{number}" for number in (1, 2)]


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
        with opened(found.settings.database_url, home=homes[DIES]) as store:  # as its next start would
            told: list[str] = []
            cleaning_up.end_leftovers(
                Settings(homes[DIES], database_url=found.settings.database_url), store, told.append
            )
            assert cleaning_up.remains(Settings(homes[DIES])) == 0, told


def an_image(number: int) -> str:
    return f"{GROUP}/providers/Microsoft.Compute/images/web{number}"


def test_a_host_that_dies_in_a_real_build_loses_no_run_and_doubles_none(fleet: RealFleet) -> None:
    service = fleet.service
    store = service.service.store
    wait_for(lambda: {host.name for host in store.hosts.live() if not host.unready} == {DIES, LIVES}, seconds=120)
    for number, template in enumerate(TEMPLATES, start=1):
        target = {"type": "ManagedImage", "runOutputName": "out", "imageId": an_image(number), "location": "westus2"}
        body = a_template(f"echo {BEGUN} | tee /tmp/said", "sleep 30", distribute=[target])
        provisioned(service, template, body)
        assert service.request("POST", f"{template}/run").status_code == 202

    def log(template: str) -> str:
        [run] = store.runs.of_template(template)
        told = service.get(f"{template}/providers/Vmkiln.Builds/runs/{run.run_id}/log").json()
        return "\n".join(told.get("lines", ()))

    def hosts() -> dict[str, str]:
        """The host of each run that goes on."""
        names = {host.incarnation: host.name for host in store.hosts.live()}
        return {placed.run_id: names[placed.incarnation] for placed in store.hosts.placed()}

    wait_for(lambda: all(BEGUN in log(template) for template in TEMPLATES), seconds=BEGIN_SECONDS)
    runs = {store.runs.of_template(template)[0].run_id: template for template in TEMPLATES}
    before = hosts()
    assert {before[run_id] for run_id in runs} == {DIES, LIVES}, "each of them builds one"
    fleet.workers[DIES].send_signal(signal.SIGKILL)
    assert fleet.workers[DIES].wait(60) == -signal.SIGKILL
    wait_for(lambda: all(store.runs.find(run_id).ended for run_id in runs), seconds=END_SECONDS)
    ended = {before[run_id]: store.runs.find(run_id) for run_id in runs}
    assert {name: (run.state, run.attempt) for name, run in ended.items()} == {
        DIES: ("Succeeded", 2),
        LIVES: ("Succeeded", 1),
    }, {name: run.message for name, run in ended.items()}
    [living] = store.hosts.live()
    assert living.name == LIVES
