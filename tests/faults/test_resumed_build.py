"""A `vmkiln build` that is killed, and its user who goes on; the guests of the virtual machines are stood in for."""

import os
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from empty_world import differences, snapshot
from stand_ins.build_process import CUSTOMIZERS
from stand_ins.builds import Builds, opened_builds, wait_until
from test_kill_every_process import ENDS_SECONDS, HELD_SECONDS, check_images, customized, wait_until_gone

from vmkiln.preparation import opened_store

ID = "service"  # what the stand-ins call whoever does one run in its own process


@pytest.fixture
def builds(tmp_path: Path) -> Iterator[Builds]:
    with opened_builds(tmp_path) as found:
        yield found


def test_a_killed_build_goes_on_from_its_disk_when_its_user_says_so(builds: Builds) -> None:
    run_id, home = str(uuid.uuid4()), builds.settings.home
    before = snapshot(home)
    for moment in ("validation-vm 0", "distributing"):  # killed once more when it goes on
        build = builds.start(run_id, runner=ID, moment=moment)
        folder = run_id if moment == "validation-vm 0" else f"{run_id}.2"
        reached = builds.settings.runs / folder / "reached"
        wait_until(reached.exists, seconds=HELD_SECONDS, what="being held")
        os.kill(build.process_id, signal.SIGKILL)
        assert build.has_ended(seconds=ENDS_SECONDS)
        wait_until_gone(builds, before)
        with opened_store(builds.settings, print) as store:
            run = store.runs.find(run_id)
            assert (run.state, run.error_code) == ("Failed", "RunLost")
            assert f"`vmkiln build TEMPLATE --resume {run_id[:8]}` goes on from its customized disk" in run.message
        assert differences(before, snapshot(home)) == [f"kept: left behind: {run_id}"]
    assert builds.start(run_id, runner=ID).has_ended(seconds=HELD_SECONDS)
    with opened_store(builds.settings, print) as store:
        run = store.runs.find(run_id)
        assert (run.state, run.message, run.attempt) == ("Succeeded", "", 3)
        assert customized(builds, store, run_id) == CUSTOMIZERS, "each customizer ran once"
        check_images(builds, store)
    assert differences(before, snapshot(home)) == []
