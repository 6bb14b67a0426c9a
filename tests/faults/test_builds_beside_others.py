"""Builds of commands beside each other, beside a service and beside what deletes; the guests alone are stood in for."""

import subprocess
import sys
import uuid
from collections.abc import Iterator

import pytest
import tiers
from empty_world import differences, snapshot
from stand_ins.build_process import COMMAND, DEFINITION_ID, image_id
from stand_ins.builds import Build, Builds, opened_builds, wait_until
from test_kill_every_process import HELD_SECONDS

from vmkiln.images.image_store import sha256_of
from vmkiln.preparation import opened_store
from vmkiln.run_state import RunState

WAIT_SECONDS = 60.0
PRUNES = (
    ("run", "prune", "--older-than", "0s", "--keep", "0", "--yes"),
    ("cache", "prune"),
    ("image", "purge", "--all", "--yes"),
)


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Builds]:
    with opened_builds(tmp_path_factory.mktemp("beside")) as found:
        yield found


def started(builds: Builds, moment: str, **more: str) -> Build:
    return builds.start(str(uuid.uuid4()), runner=COMMAND, moment=moment, **more)


def held(*begun: Build) -> None:
    wait_until(lambda: all(build.is_held() for build in begun), seconds=HELD_SECONDS, what="being held")


def succeeded(builds: Builds, *begun: Build) -> None:
    for build in begun:
        build.let_go()
    for build in begun:
        assert build.has_ended(seconds=HELD_SECONDS), builds.said(build)
        assert builds.said(build).splitlines()[-1] == "exit code 0", builds.said(build)


def check_images(builds: Builds) -> None:
    """Each image on record is whole, and no file is there that is not on record."""
    with opened_store(builds.settings, print) as store:
        images = store.images.list()
    assert [image.artifact_id for image in images if sha256_of(image.path) != image.digest] == []
    places = {path.name for path in builds.settings.image_store.iterdir()}
    assert places == {image.path.parent.name for image in images if image.kind != "VHD"}


@pytest.mark.parametrize("is_one_template", [True, False], ids=["of one template", "of two templates"])
@pytest.mark.parametrize("moment", ["build-vm 1", "distributing"])
def test_two_builds_to_one_target_at_once_both_publish(builds: Builds, moment: str, is_one_template: bool) -> None:
    before = snapshot(builds.settings.home)
    target = str(uuid.uuid4())
    names = ("same", "same") if is_one_template else ("one", "two")
    both = [started(builds, moment, name=name, target=target) for name in names]
    held(*both)
    succeeded(builds, *both)
    with opened_store(builds.settings, print) as store:
        (image,) = [row for row in store.images.list() if row.artifact_id == image_id(target)]
        assert image.run_id in {build.run_id for build in both}, "the later one takes the earlier one's place"
        versions = [
            row for build in both for row in store.images.of_run(build.run_id) if row.kind == "SharedImageVersion"
        ]
        assert len({row.artifact_id for row in versions}) == len(versions) == len(both), "each has a number of its own"
        assert all(row.artifact_id.startswith(DEFINITION_ID) for row in versions)
    check_images(builds)
    assert differences(before, snapshot(builds.settings.home)) == []


@pytest.mark.parametrize(
    "moment", tiers.half(["accepted", "overlay", "build-vm 1", "converting", "distributing", "cleaning"])
)
def test_what_prunes_beside_a_build_takes_nothing_that_it_needs(builds: Builds, moment: str) -> None:
    before = snapshot(builds.settings.home)
    build = started(builds, moment)
    held(build)
    environment = {**builds.environment, "VMKILN_HOME": str(builds.settings.home)}
    for words in PRUNES:
        command = [sys.executable, "-m", "vmkiln", *words]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr.count("Traceback")) == (0, 0), done.stderr
    with opened_store(builds.settings, print) as store:
        assert store.runs.find(build.run_id).state == RunState.RUNNING
    succeeded(builds, build)
    check_images(builds)
    assert differences(before, snapshot(builds.settings.home)) == []


def test_a_service_of_the_same_state_starts_and_ends_beside_a_build(builds: Builds) -> None:
    before = snapshot(builds.settings.home)
    build = started(builds, "build-vm 1")
    held(build)
    environment = {**builds.environment, "VMKILN_HOME": str(builds.settings.home)}
    words = [sys.executable, "-m", "stub_service", str(builds.settings.home)]
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True) as service:
        assert service.stdout is not None
        try:
            assert service.stdout.readline().startswith("https://"), "it has cleaned up after the dead, and serves"
            with opened_store(builds.settings, print) as store:
                assert store.runs.find(build.run_id).state == RunState.RUNNING
        finally:
            service.terminate()
        assert service.wait(WAIT_SECONDS) == 0
    succeeded(builds, build)
    check_images(builds)
    assert differences(before, snapshot(builds.settings.home)) == []
