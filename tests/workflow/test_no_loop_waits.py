"""A whole run, with stand-ins for its guests only, blocks no event loop: neither when it succeeds nor when it fails."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from blocking_calls import no_loop_waits
from stand_ins import build_process
from stand_ins.builds import Builds, opened_builds
from stand_ins.unconfined import unconfined

from vmkiln.errors import VmkilnError
from vmkiln.run import building
from vmkiln.store.database import opened


@pytest.fixture
def builds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Builds]:
    monkeypatch.setattr(building, "resolve_source", building.resolve_source)  # the stand-in's process replaces it
    with opened_builds(tmp_path) as found:
        monkeypatch.setenv("PATH", found.environment["PATH"])
        with unconfined():
            yield found


@pytest.mark.parametrize("is_kept", [True, False], ids=["of the service", "of the command line"])
def test_a_whole_run_blocks_no_loop(builds: Builds, *, is_kept: bool) -> None:
    run_id = str(uuid.uuid4())
    with no_loop_waits():
        build_process.run_in_service(builds.settings, build_process.Asked(run_id, "", is_kept))
    with opened(builds.settings.database_address) as store:
        assert store.runs.find(run_id).state == "Succeeded"
        assert len(store.images.list()) == 5, "two sources, and what the run made of one"


def test_a_run_that_fails_blocks_no_loop(builds: Builds) -> None:
    run_id = str(uuid.uuid4())
    (Path(builds.environment["PATH"].split(os.pathsep)[0]) / "qemu-system-x86_64").write_text("#!/bin/sh\nexit 1\n")
    with no_loop_waits(), pytest.raises(VmkilnError):
        build_process.run_in_service(builds.settings, build_process.Asked(run_id, "", is_kept=True))
    with opened(builds.settings.database_address) as store:
        assert store.runs.find(run_id).state == "Failed"
