"""SIGKILL to each process of a run in each phase of it; the guests of the two virtual machines are stood in for.

In each phase one run for each process that lives then is held there, with one more beside them; each loses its
process, all at once. A run says why it ended, within seconds; one whose own process died waits again and starts anew.
The run beside them goes on as if nothing had happened, and exactly what was there before is there in the end.
The short tier kills every other process of a phase, and the rest of them on other days.
"""

import os
import signal
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import tiers
from empty_world import World, differences, snapshot
from stand_ins.build_process import CUSTOMIZERS, DEFINITION_ID, RUNNERS, image_id
from stand_ins.builds import PARENT, Build, Builds, opened_builds, processes_of, wait_until

from vmkiln.azure_names import STORAGE_ACCOUNT
from vmkiln.images.image_store import sha256_of
from vmkiln.preparation import opened_store
from vmkiln.receipts.receipt import receipts_of
from vmkiln.run.cleaning_up import leftovers
from vmkiln.staging.staging_resource_group import StagingResourceGroup
from vmkiln.staging.storage_account import VHDS, StorageAccount
from vmkiln.store.database import Store
from vmkiln.store.rows import RunRow

ENDS_SECONDS = 15.0  # less than 5 on a quiet machine; other tests run beside this one
GONE_SECONDS = 60.0  # in which the kernel takes down the namespaces of all that were killed at once
HELD_SECONDS = 120.0
CANCEL, BESIDE, RUNNER = "cancel", "beside", "service"
LAUNCHER = "launcher"
NAMESPACES = (RUNNER, LAUNCHER, "supervisor", PARENT, "pasta", "resolver", "flow watch")
GUESTS = (*NAMESPACES, "container group", "build VM", "packer")
PROCESSES = {
    RUNNER: "the service, a worker, or the command that builds",
    LAUNCHER: "what the supervisors of all runs here are copies of",
    "supervisor": "process 1 of the run's pid namespace",
    PARENT: "the process that made the run's namespaces",
    "pasta": "the egress leg",
    "resolver": "answers the guests' names",
    "flow watch": "tells connections",
    "container group": "QEMU of the container group",
    "build VM": "QEMU of the build VM; in P11 of the validation VM",
    "packer": "Packer in the container group",
    "qemu-img": "writes and flattens disks",
    "nft": "loads and reads firewall rules",
    "log collector": "none of its own: the service collects the log",
}


@dataclass(frozen=True)
class Moment:
    """A phase of a run: its number, what has been reached, where the stand-ins hold it, and the processes there.

    `packer_waits`: Packer is who waits there, and stays waiting; else whoever waits goes on after the kill.
    """

    number: str
    reached: str
    where: str
    living: tuple[str, ...]
    packer_waits: bool = False


MOMENTS = (
    Moment("P1", "accepted", "accepted", (RUNNER, LAUNCHER)),
    Moment("P2", "validated", "validated", (RUNNER, LAUNCHER)),
    Moment("P3", "source copied", "source copied", (RUNNER, LAUNCHER)),
    Moment("P4", "the overlay is being made", "overlay", (*NAMESPACES, "qemu-img")),
    Moment("P5", "the network namespace is up", "network", (*NAMESPACES, "nft")),
    Moment("P6", "the container group is up, QEMU of the build VM starts", "BVM up", GUESTS),
    Moment("P7", "the build VM is up, Packer waits for ssh", "ssh", GUESTS, packer_waits=True),
    Moment("P8", "ssh is up", "connected", GUESTS, packer_waits=True),
    Moment("P9", "customizing, second step", "build-vm 1", GUESTS, packer_waits=True),
    Moment("P10", "generalising", f"build-vm {CUSTOMIZERS}", GUESTS, packer_waits=True),
    Moment("P11", "validating", "validation-vm 0", GUESTS, packer_waits=True),
    Moment("P12", "flattening, the validations are over", "converting", (RUNNER, LAUNCHER, "qemu-img")),
    Moment("P13", "distributing, second target of three", "distributing", (RUNNER, LAUNCHER)),
    Moment("P14", "cleaning", "cleaning", (RUNNER, LAUNCHER)),
)


def expected_end(moment: Moment, victim: str) -> tuple[str, str, str]:
    """State, error code, and a part of the message, of a run that lost `victim`."""
    match victim:
        case "launcher" if "supervisor" not in moment.living:
            return "Succeeded", "", ""
        case "launcher":
            return "Failed", "NamespaceTerminated", "the launcher ended"
        case "supervisor" | "supervisor's parent":
            return "Failed", "NamespaceTerminated", "the supervisor of the run's namespaces ended"
        case "pasta" | "resolver" | "flow watch":
            words = {"resolver": "the resolver", "flow watch": "flow-watch"}.get(victim, victim)
            return "Failed", "EgressTerminated", f"{words} ended with status -9"
        case "container group":
            return "Failed", "ContainerGroupTerminated", "the container group ended"
        case "build VM":
            return "Failed", "BuildVmTerminated", "(status -9)"
        case "packer" if moment.number == "P11":
            return "Failed", "ValidationFailed", "Packer exited with 137"
        case "packer":
            return "Failed", "PackerBuildFailed", "Packer exited with 137"
        case "qemu-img" | "nft":
            return "Failed", "CommandFailed", f"{victim} exited with status -9"
        case "cancel" if moment.number == "P14":
            return "Succeeded", "", ""
        case "cancel":
            return "Canceled", "Canceled", "the run was cancelled"
        case "beside":
            return "Succeeded", "", ""
    raise AssertionError(victim)


def table() -> str:
    """The table of docs/kills.md: a row for each process, a column for each phase; pure."""
    lines = ["| process | " + " | ".join(moment.number for moment in MOMENTS) + " |"]
    lines.append("|---" * (len(MOMENTS) + 1) + "|")
    for name, meaning in PROCESSES.items():
        ends = (_cell(moment, name) if name in moment.living else "" for moment in MOMENTS)
        lines.append(f"| {name}: {meaning} | " + " | ".join(ends) + " |")
    return "\n".join(lines)


def is_customized(moment: Moment) -> bool:
    """Whether the disk is kept by then, so that whoever comes next goes on from it; pure."""
    return MOMENTS.index(moment) > [item.number for item in MOMENTS].index("P10")


def _cell(moment: Moment, victim: str) -> str:
    if victim == RUNNER:
        return "goes on" if is_customized(moment) else "starts anew"
    return "`" + " ".join(expected_end(moment, victim)[:2]).strip() + "`"


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Builds]:
    with opened_builds(tmp_path_factory.mktemp("kills")) as found:
        yield found


def test_the_table_of_kills_is_what_is_tried() -> None:
    """A process that is missing in a phase does not live in it, which each phase's test finds to be so."""
    text = (Path(__file__).parents[2] / "docs/kills.md").read_text()
    assert table() in text
    for moment in MOMENTS:
        assert f"- {moment.number}: {moment.reached}\n" in text
    assert len(MOMENTS) == 14
    assert {name for moment in MOMENTS for name in moment.living} == {*PROCESSES} - {"log collector"}


@pytest.mark.parametrize("runner", sorted(RUNNERS))
@pytest.mark.parametrize("moment", MOMENTS, ids=lambda moment: f"{moment.number}-{moment.where}")
def test_a_run_that_loses_a_process_says_so_and_leaves_nothing(builds: Builds, moment: Moment, runner: str) -> None:
    home = builds.settings.home
    before = snapshot(home)
    others = [victim for victim in moment.living if victim != RUNNER]
    victims = (RUNNER, *tiers.half(others, MOMENTS.index(moment)))
    losing = {victim: started(builds, moment, runner, victim) for victim in (*victims, CANCEL, BESIDE)}
    wait_until(lambda: all(build.is_held() for build in losing.values()), seconds=HELD_SECONDS, what="being held")
    # the flattening goes on beside the validations, whichever of the two ends first
    wait_until(lambda: all_live(losing, moment), seconds=HELD_SECONDS, what=f"{moment.living} being what lives")
    living = {victim: living_in(build, moment) for victim, build in losing.items()}

    begin = time.monotonic()
    for victim in victims:
        os.kill(living[victim][victim], signal.SIGKILL)
    os.kill(losing[CANCEL].process_id, signal.SIGINT)
    for victim, build in losing.items():
        if victim not in {RUNNER, BESIDE} and not moment.packer_waits:
            build.let_go()
    for victim, build in losing.items():
        if victim != BESIDE:
            goes_on = victim == LAUNCHER and "supervisor" not in moment.living
            left = max(0.0, begin + (HELD_SECONDS if goes_on else ENDS_SECONDS) - time.monotonic())
            assert build.has_ended(seconds=left), f"{victim}: {builds.said(build)}"
    losing[BESIDE].let_go()
    assert losing[BESIDE].has_ended(seconds=HELD_SECONDS)
    wait_until_gone(builds, before)

    with opened_store(builds.settings, print):
        pass  # what every start does: cleaning up after the dead
    again = losing[RUNNER].run_id
    kept = [f"kept: left behind: {again}"] if is_customized(moment) else []
    assert differences(before, snapshot(home)) == kept
    with opened_store(builds.settings, print) as store:
        for victim, build in losing.items():
            check_end(builds, store, moment, victim, store.runs.find(build.run_id))
        check_images(builds, store)
        begun = customized(builds, store, again)
        assert builds.start(again, runner=runner, is_kept=True).has_ended(seconds=HELD_SECONDS)
        run = store.runs.find(again)
        assert (run.state, run.message, run.facts["attempt"]) == ("Succeeded", "", 2)
        more = 0 if is_customized(moment) else CUSTOMIZERS
        assert customized(builds, store, again) == begun + more, "what is finished is not done again"
        check_end(builds, store, moment, BESIDE, run)
        check_images(builds, store)
    assert differences(before, snapshot(home)) == []


def customized(builds: Builds, store: Store, run_id: str) -> int:
    """How many customizers were begun for a run, in all its attempts, as its log has them."""
    found = store.runs.find(run_id)
    logs = builds.settings.staging.glob(f"{found.staging_group or 'none'}/*/packerlogs/{run_id}/customization.log")
    lines = [line for log in logs for line in log.read_text().splitlines()]
    numbers = [line.partition("step ")[2].split()[0] for line in lines if line.endswith("of build-vm")]
    return sum(int(number) < CUSTOMIZERS for number in numbers)


def started(builds: Builds, moment: Moment, runner: str, victim: str) -> Build:
    return builds.start(str(uuid.uuid4()), runner=runner, moment=moment.where, is_kept=victim == RUNNER)


def living_in(build: Build, moment: Moment) -> dict[str, int]:
    """The processes of a held run; the rules are read every two seconds, which is not the one that is held."""
    found = processes_of(build, runner=RUNNER)
    if "nft" not in moment.living:
        found.pop("nft", None)
    return found


def all_live(losing: dict[str, Build], moment: Moment) -> bool:
    """Whether each held run has just the processes of this moment."""
    return all(set(living_in(build, moment)) == set(moment.living) for build in losing.values())


def alive(builds: Builds, before: World) -> list[str]:
    """What the kernel has not ended yet of what began after `before`."""
    found = differences(before, snapshot(builds.settings.home))
    return [item for item in found if not item.startswith(("runs:", "kept:", "unfinished_files:"))]


def wait_until_gone(builds: Builds, before: World) -> None:
    """Wait until nothing lives that began after `before`; what does is named."""
    deadline = time.monotonic() + GONE_SECONDS
    while left := alive(builds, before):
        assert time.monotonic() < deadline, "\n".join(left)
        time.sleep(0.1)


def check_end(builds: Builds, store: Store, moment: Moment, victim: str, run: RunRow) -> None:
    """The run says what it lost, and what it made is there or not there."""
    if victim == RUNNER:
        assert (run.state, run.ended, run.facts["attempt"]) == ("Queued", None, 2)
    else:
        state, code, text = expected_end(moment, victim)
        assert (run.state, run.error_code) == (state, code), f"{victim}: {run.message}"
        assert text in run.message, victim
        assert run.ended is not None
        outputs = [row.name for row in store.images.outputs_of(run.run_id) if row.state == "Succeeded"]
        wanted = {"Succeeded": ["gallery", "managed", "vhd"], "PartiallySucceeded": ["gallery", "managed"]}
        if victim != CANCEL or state == "Succeeded":
            assert sorted(outputs) == wanted.get(state, []), victim
            assert len(store.images.of_run(run.run_id)) == len(outputs), victim
    group = store.staging.group(run.staging_group)
    if group is not None:
        account = StorageAccount(group.storage_account, builds.settings.staging / group.name / group.storage_account)
        assert leftovers(store, StagingResourceGroup(group.name, group.tags, account, run.run_id)) == [], victim
        receipts = [receipt for receipt in receipts_of(store, run.run_id) if receipt.type != STORAGE_ACCOUNT]
        left = [receipt.name for receipt in receipts if not receipt.deleted or not receipt.verified_gone]
        is_kept = victim == RUNNER and run.ended is None and is_customized(moment)
        assert left == (["build-vm-os-disk"] if is_kept else []), victim


def check_images(builds: Builds, store: Store) -> None:
    """Every image is whole, no file of one is there without its record, and none is there twice."""
    images = store.images.list()
    assert [image.artifact_id for image in images if sha256_of(image.path) != image.digest] == []
    places = {path.name for path in builds.settings.image_store.iterdir()}
    assert places == {image.path.parent.name for image in images if image.kind != "VHD"}
    vhds = set(builds.settings.staging.glob(f"*/*/{VHDS}/*"))
    assert vhds == {image.path for image in images if image.kind == "VHD"}
    for run_id in {image.run_id for image in images if image.run_id != "source--"}:
        found = sorted(image.kind for image in store.images.of_run(run_id))
        assert found == sorted(set(found)), f"run {run_id} published twice"
        assert store.images.find(image_id(run_id)) is not None
    assert all(image.artifact_id.startswith(DEFINITION_ID) for image in images if image.kind == "SharedImageVersion")
