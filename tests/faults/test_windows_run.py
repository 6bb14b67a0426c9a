"""A run of a Windows template through all its phases, its guests stood in for: what it believes of their end."""

import uuid
from collections.abc import Iterator

import pytest
from stand_ins.build_process import image_id
from stand_ins.builds import Build, Builds, opened_builds

from vmkiln.run_state import RunState
from vmkiln.store.database import opened
from vmkiln.store.rows import RunRow
from vmkiln.windows.proven import UNPROVEN

SECONDS = 60
LEFT = {
    "windows without a word at its end": ("BuildVmTerminated", "powered off without its finish line"),
    "windows with a user left": ("GeneralizationIncomplete", "could not take away: user"),
    "windows that is never ready": (
        "PackerBuildFailed",
        "customizing failed: set-up of the build-vm: complete, winrm failed: access is denied",
    ),
}


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Builds]:
    with opened_builds(tmp_path_factory.mktemp("builds")) as found:
        yield found


def ended(builds: Builds, lie: str) -> tuple[Build, RunRow, bool]:
    run_id = str(uuid.uuid4())
    build = builds.start(run_id, runner="service", lie=lie)
    assert build.has_ended(seconds=SECONDS), builds.said(build)
    with opened(builds.settings.database_address) as store:
        image = store.images.find(image_id(run_id))
        return build, store.runs.find(run_id), image is not None and image.os_type == "Windows"


def test_a_windows_run_goes_through_each_phase_and_says_it_is_unproven(builds: Builds) -> None:
    build, run, is_published = ended(builds, "windows")
    assert (run.state, run.error_code) == (RunState.SUCCEEDED, ""), run.message
    assert is_published
    assert run.facts["hygiene"]["verdict"] == "Unproven"
    (log,) = builds.settings.staging.rglob(f"{build.run_id}/customization.log")
    text = log.read_text()
    for words in (UNPROVEN, "set-up of the build-vm: complete, winrm", "step 2 of build-vm"):
        assert words in text


@pytest.mark.parametrize("lie", LEFT)
def test_a_windows_vm_that_ends_otherwise_publishes_nothing(builds: Builds, lie: str) -> None:
    code, words = LEFT[lie]
    _, run, is_published = ended(builds, lie)
    assert (run.state, run.error_code) == (RunState.FAILED, code), run.message
    assert words in run.message
    assert not is_published
