"""SIGKILL to a worker that has a run in each of the 14 phases; the guests of the virtual machines are stood in for."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from empty_world import differences, snapshot
from stand_ins.build_process import CUSTOMIZERS, template_text
from stand_ins.builds import Builds, opened_builds, wait_until
from stand_ins.worker_process import reached_file
from test_kill_every_process import MOMENTS, Moment, check_images, customized, is_customized, wait_until_gone

from vmkiln.fleet.image_builder import queued_run
from vmkiln.inspecting.residue import ALL, TAG
from vmkiln.run_state import TERMINAL_STATES
from vmkiln.staging import staging_resource_group
from vmkiln.store.database import Store, opened
from vmkiln.store.rows import ResourceRow
from vmkiln.template.template_file import read_image_template

HELD_SECONDS = 120.0
ALL_END_SECONDS = 180.0
TYPE = "Microsoft.VirtualMachineImages/imageTemplates"
GROUP = f"/subscriptions/{uuid.UUID(int=1)}/resourceGroups/rg"


@pytest.fixture
def builds(tmp_path: Path) -> Iterator[Builds]:
    with opened_builds(tmp_path) as found:
        yield found


@contextlib.contextmanager
def worker(builds: Builds) -> Iterator["subprocess.Popen[bytes]"]:
    command = [sys.executable, "-m", "stand_ins.worker_process", str(builds.settings.home)]
    with (builds.settings.home.parent / "worker.txt").open("ab") as said:
        process = subprocess.Popen(command, env=builds.environment, stdout=said, stderr=said)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def queue(builds: Builds, store: Store, run_id: str) -> None:
    """A template that the service keeps, with a staging resource group of its own, and its run that waits."""
    group, name = f"IT_rg_{run_id}", f"t-{run_id}"
    staging_resource_group.create(builds.settings.staging, store, name=group, run_id="", tags={})
    row = ResourceRow(
        id=f"{GROUP}/providers/{TYPE}/{name}",
        type=TYPE,
        name=name,
        subscription_id=str(uuid.UUID(int=1)),
        resource_group="rg",
        location="local",
        tags={TAG: ALL},  # no stand-in plays the inspection VM
        identity={"type": "None"},
        properties=read_image_template(template_text(run_id), file_name="stand-in.json").resolved["properties"],
        state={"api_version": "2025-10-01", "staging_group": group},
        created_by="local operator",
    )
    store.resources.put(row)
    assert store.runs.queue(queued_run(row, run_id=run_id, reason="request"))


def is_held(builds: Builds, run_id: str) -> bool:
    return reached_file(builds.settings, run_id).exists() or (builds.settings.runs / run_id / "reached").exists()


def said(builds: Builds) -> str:
    return (builds.settings.home.parent / "worker.txt").read_text()[-4000:]


def test_a_worker_that_dies_in_every_phase_loses_no_run_and_doubles_none(builds: Builds) -> None:
    settings = builds.settings
    runs: dict[str, Moment] = {str(uuid.uuid4()): moment for moment in MOMENTS}
    (settings.home / "moments.json").write_text(json.dumps({name: moment.where for name, moment in runs.items()}))
    before = snapshot(settings.home)
    *first, last = runs
    assert runs[last].where == "cleaning", "it keeps the whole worker waiting, so it comes last"
    with worker(builds) as dying:
        for names in (first, [last]):
            with opened(settings.database_address) as store:
                for name in names:
                    queue(builds, store, name)
            for name in names:
                wait_until(lambda name=name: is_held(builds, name), seconds=HELD_SECONDS, what="being held")  # type: ignore[misc]
        assert dying.poll() is None, said(builds)
        os.kill(dying.pid, signal.SIGKILL)
    wait_until_gone(builds, before)
    with worker(builds) as living:
        with opened(settings.database_address) as store:
            assert {run.run_id for run in store.runs.list(limit=None)} == {*runs}
            wait_until(
                lambda: all(run.state in TERMINAL_STATES for run in store.runs.list(limit=None)),
                seconds=ALL_END_SECONDS,
                what="the end of all runs",
            )
        living.send_signal(signal.SIGTERM)
        assert living.wait(30) == 0, said(builds)
    assert differences(before, snapshot(settings.home)) == []
    with opened(settings.database_address) as store:
        ends = {runs[run.run_id].number: (run.state, run.attempt) for run in store.runs.list(limit=None)}
        why = {runs[run.run_id].number: run.message for run in store.runs.list(limit=None) if run.message}
        assert ends == {moment.number: ("Succeeded", 2) for moment in MOMENTS}, why
        for run_id, moment in runs.items():
            if is_customized(moment):
                assert customized(builds, store, run_id) == CUSTOMIZERS, f"{moment.number}: each customizer ran once"
        check_images(builds, store)
