"""A container group that lies: whatever it tells, its run ends by a named error and nothing is published."""

import uuid
from collections.abc import Iterator

import pytest
from stand_ins.build_process import image_id
from stand_ins.builds import Builds, opened_builds

from vmkiln.run_state import RunState
from vmkiln.store.database import opened
from vmkiln.store.rows import RunRow

SECONDS = 60
NOT_BELIEVED = "ContainerGroupNotBelieved"
LIES = {
    "ended before it began": (NOT_BELIEVED, "Packer is told to have ended well, at step 0 of 4"),
    "ended at the first step": (NOT_BELIEVED, "Packer is told to have ended well, at step 1 of 4"),
    "a step left out": (NOT_BELIEVED, "step 3 of 4 is told after step 1"),
    "steps in another order": (NOT_BELIEVED, "step 2 of 4 is told after step 0"),
    "a step too many": (NOT_BELIEVED, "step 5 of 4 is told after step 4"),
    "never ended": (NOT_BELIEVED, "powered off 2 s ago, and Packer goes on"),
    "events without end": (NOT_BELIEVED, "more than 4096 bytes of events"),
    "a log without end": (NOT_BELIEVED, "more than 1048576 bytes of log in one phase"),
    "a VM that is on": ("BuildVmTerminated", "did not power off within 2 s"),
}


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Builds]:
    with opened_builds(tmp_path_factory.mktemp("builds")) as found:
        yield found


def ended(builds: Builds, lie: str) -> RunRow:
    run_id = str(uuid.uuid4())
    build = builds.start(run_id, runner="service", lie=lie)
    assert build.has_ended(seconds=SECONDS), builds.said(build)
    with opened(builds.settings.database_address) as store:
        assert (store.images.find(image_id(run_id)) is not None) is (lie == "nothing but the truth")
        return store.runs.find(run_id)


def test_one_that_tells_the_truth_is_believed(builds: Builds) -> None:
    """The control: with the same short waits and small limits."""
    run = ended(builds, "nothing but the truth")
    assert (run.state, run.error_code) == (RunState.SUCCEEDED, ""), run.message


@pytest.mark.parametrize("lie", LIES)
def test_one_that_lies_ends_its_run_by_name(builds: Builds, lie: str) -> None:
    code, words = LIES[lie]
    run = ended(builds, lie)
    assert (run.state, run.error_code) == (RunState.FAILED, code), run.message
    assert words in run.message
