"""A build goes on as if nothing had happened when the clock of the day is set back and forth meanwhile."""

import json
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from datetime import timedelta

import pytest
from empty_world import differences, snapshot
from stand_ins.build_process import COMMAND
from stand_ins.builds import Builds, opened_builds
from test_kill_every_process import HELD_SECONDS

from vmkiln.images.image_store import sha256_of
from vmkiln.preparation import opened_store

SWING = timedelta(days=1)  # at least, from one phase to another
BELOW_NOTHING = re.compile(r"(?<![\w-])-\d+(\.\d+)?\s*(s|min|h|d)\b")


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Builds]:
    with opened_builds(tmp_path_factory.mktemp("clock")) as found:
        yield found


def test_a_build_whose_clock_is_set_back_and_forth_ends_well(builds: Builds) -> None:
    before = snapshot(builds.settings.home)
    build = builds.start(str(uuid.uuid4()), runner=COMMAND, clock="swinging")
    assert build.has_ended(seconds=HELD_SECONDS), builds.said(build)
    said = builds.said(build)
    assert said.splitlines()[-1] == "exit code 0", said
    assert "Traceback" not in said
    assert BELOW_NOTHING.findall(said) == []
    with opened_store(builds.settings, print) as store:
        images = store.images.of_run(build.run_id)
        assert [image.artifact_id for image in images if sha256_of(image.path) != image.digest] == []
        phases = store.runs.phases_of(build.run_id)
    assert max(phase.started for phase in phases) - min(phase.started for phase in phases) > SWING, "it was set"
    environment = {**builds.environment, "VMKILN_HOME": str(builds.settings.home)}
    for words in (("run", "list"), ("run", "show", build.run_id), ("run", "timeline", build.run_id), ("history",)):
        for more in ((), ("--json",)):
            command = [sys.executable, "-m", "vmkiln", *words, *more]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            if more:
                assert list(below_nothing(json.loads(done.stdout))) == []
            else:
                assert BELOW_NOTHING.findall(done.stdout) == [], done.stdout
    assert differences(before, snapshot(builds.settings.home)) == []


def below_nothing(told: object, path: str = "") -> Iterator[str]:
    """The members whose name says that they are seconds, and that are less than none."""
    if isinstance(told, dict | list):
        for name, value in told.items() if isinstance(told, dict) else enumerate(told):
            yield from below_nothing(value, f"{path}.{name}")
    elif isinstance(told, int | float) and told < 0 and "seconds" in path.rpartition(".")[2]:
        yield f"{path} {told}"
