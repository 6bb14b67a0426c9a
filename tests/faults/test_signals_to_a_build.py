"""SIGINT, SIGTERM, SIGHUP and SIGKILL to `vmkiln build` in each phase of it, with stand-ins for the guests alone.

In each phase four builds are held there; each is sent its signal, and the first of them is sent it again. A build that
was asked to end says what it does, ends with 130 and leaves nothing; the next command cleans up after a killed one.
The short tier tries a quarter of the phases a day.
"""

import os
import signal
import time
import uuid
from collections.abc import Iterator

import pytest
import tiers
from empty_world import differences, snapshot
from stand_ins.build_process import COMMAND
from stand_ins.builds import Build, Builds, opened_builds, wait_until
from test_kill_every_process import (
    ENDS_SECONDS,
    HELD_SECONDS,
    MOMENTS,
    Moment,
    check_images,
    is_customized,
    wait_until_gone,
)

from vmkiln.preparation import opened_store
from vmkiln.receipts.receipt import receipts_of
from vmkiln.run.finished import kept_disk
from vmkiln.store.database import Store
from vmkiln.store.host_table import RUN_LOST

ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
CLEANING = "P14"


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Builds]:
    with opened_builds(tmp_path_factory.mktemp("signals")) as found:
        yield found


@pytest.mark.parametrize("moment", tiers.quarter(MOMENTS), ids=lambda moment: f"{moment.number}-{moment.where}")
def test_a_signal_in_each_phase_is_answered_and_nothing_is_left(builds: Builds, moment: Moment) -> None:
    home = builds.settings.home
    before = snapshot(home)
    held = {number: started(builds, moment) for number in (*ENDS, signal.SIGKILL)}
    wait_until(lambda: all(build.is_held() for build in held.values()), seconds=HELD_SECONDS, what="being held")

    begin = time.monotonic()
    for number, build in held.items():
        os.kill(build.process_id, number)
    os.kill(held[signal.SIGINT].process_id, signal.SIGINT)  # pressed again
    for number, build in held.items():
        if number != signal.SIGKILL and not moment.packer_waits:
            build.let_go()
        assert build.has_ended(seconds=max(0.0, begin + ENDS_SECONDS - time.monotonic())), builds.said(build)
    wait_until_gone(builds, before)

    with opened_store(builds.settings, print):
        pass  # what the next command does first
    killed = held[signal.SIGKILL].run_id
    kept = [f"kept: left behind: {killed}"] if is_customized(moment) else []  # for `--resume`
    assert differences(before, snapshot(home)) == kept
    with opened_store(builds.settings, print) as store:
        for number in ENDS:
            check_answer(builds, store, held[number], moment)
        run = store.runs.find(killed)
        assert (run.state, run.error_code) == ("Failed", RUN_LOST)
        for build in held.values():
            left = [
                one for one in receipts_of(store, build.run_id) if not one.deleted and one.name != "build-vm-os-disk"
            ]
            assert [one.name for one in left if not one.type.endswith("storageAccounts")] == []
        check_images(builds, store)
        assert store.runs.forget(killed)
        kept_disk.forget_unwanted(builds.settings, store)  # as the next command does once nobody can resume it
    assert differences(before, snapshot(home)) == []


def started(builds: Builds, moment: Moment) -> Build:
    return builds.start(str(uuid.uuid4()), runner=COMMAND, moment=moment.where)


def check_answer(builds: Builds, store: Store, build: Build, moment: Moment) -> None:
    """What a build that was asked to end said, and how it ended."""
    run = store.runs.find(build.run_id)
    said, report = builds.said(build), (builds.settings.home / f"{build.run_id}.md").read_text()
    assert "Traceback" not in said
    assert f"run {build.run_id}: {run.state}\n" in said, "it has an id, by which its log is found"
    for row in store.images.outputs_of(build.run_id):
        assert f"  {row.name}: {row.state} " in said, "what it published stays, and is told"
        assert f"| {row.name} | {row.state} |" in report
    assert f": {run.state}\n" in report, "the summary of a CI tells of a cancelled run, too"
    if moment.number == CLEANING:  # its images are published, and nothing is left to cancel
        assert (run.state, said.splitlines()[-1]) == ("Succeeded", "exit code 0")
        assert "cleaning up already; how the run ended stays as it is\n" in said
        return
    assert (run.state, said.splitlines()[-1]) == ("Canceled", "exit code 130")
    assert said.count("cancelling; everything temporary is being deleted\n") == 1
    assert "error: the run was cancelled\n" in said
