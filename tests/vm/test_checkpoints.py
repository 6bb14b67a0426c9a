"""Build VMs that go on from what was saved: who they are, what runs again, and what that leaves in their images.

Two builds at the same time go on from a source that was booted and saved; a third begins behind the customizers of one
of them. They are made once for all tests of this file, behind the hygiene gate. On odd days the third's template is
built cold, too, and the three images are booted once each.
"""

import json
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from conftest import GATES, IMAGES, VMKILN, Told, Wanted, a_template, runner, shell, told_at_once
from file_tree import Entry, file_tree, partition_table
from turns import DAYS, ON_ODD_DAYS

from vmkiln.buildable.start_tags import KEPT_TAG
from vmkiln.host.saved import saved_vm
from vmkiln.run.run_event import Notice, StepStarted
from vmkiln.run_state import PartKind, Start
from vmkiln.settings import Settings
from vmkiln.settings_sources import read_settings
from vmkiln.warm import checkpoint

pytestmark = pytest.mark.vm

MARKED = 'sudo python3 -c \'import os; os.setxattr("/opt/one", "user.made", b"by a step")\''
ONE = shell("echo one | sudo tee /opt/one", MARKED, name="one")
TWO = shell("(cat /opt/one; echo two) | sudo tee /opt/two", name="two")
STARTED_ANEW = ("systemd-journald", "systemd-networkd", "ssh")
WHO = (
    "echo ID machine $(cat /etc/machine-id)",
    "echo ID boot $(cat /proc/sys/kernel/random/boot_id)",
    "echo ID host-key $(cut -d' ' -f2 /etc/ssh/ssh_host_ed25519_key.pub)",
    "echo ID login-key $(grep -c vmkiln-build ~/.ssh/authorized_keys) $(cut -d' ' -f2 ~/.ssh/authorized_keys)",
    "echo ID random $(head -c 32 /dev/urandom | sha256sum)",
    "echo ID journal $(ls /var/log/journal /run/log/journal 2> /dev/null | grep '^[0-9a-f]*$')",
    # drawn by systemd at each start
    *(f"echo ID {unit} $(systemctl show -P InvocationID {unit})" for unit in STARTED_ANEW),
    "echo IS late $(( $(date +%s) - $(cat /sys/class/rtc/rtc0/since_epoch) ))",
    "echo IS route $(ip -4 route show default | wc -l)",
    "echo IS failed $(systemctl list-units --state=failed --no-legend | wc -l)",
    "echo IS timers $(systemctl list-units --type=timer --state=active --no-legend | wc -l)",
    "echo IS waiting $(ls -d /run/vmkiln /run/systemd/transient/vmkiln* 2> /dev/null | wc -l)",
    "echo IS keys $(ls /etc/ssh/ssh_host_*_key | wc -l)",
    "echo IS logins $(pgrep -cx sshd)",
    "echo IS scripts $(ls /run/packer | grep -c script_)",
)
HAS = "echo HAS $(cat /opt/two)"
REST = {"route": 1, "failed": 0, "waiting": 0, "keys": 1}
TARGET = {"type": "ManagedImage", "runOutputName": "image", "location": "local"}
# the time of each login and of each boot; nothing else of an image tells where its build began
MAY_DIFFER = {"/var/log/wtmp", "/var/log/lastlog"}
# how much longer one image may take to boot than another of the same files, beside other tests on the same CPUs
MOST_BOOT_RATIO = 3.0


def words(run: Told, kind: str) -> dict[str, str]:
    lines = [line.removeprefix("    null: ") for line in run.log]
    return {line.split(" ", 2)[1]: line.split(" ", 2)[2] for line in lines if line.startswith(f"{kind} ")}


@dataclass(frozen=True)
class Built:
    """A build of three customizers, one with the last of them edited, and that one again with nothing edited.

    `other` is of another template, beside the first. `again` is the template of the last two, `settings` are theirs.
    """

    first: Told
    second: Told
    same: Told
    other: Told
    again: dict[str, Any]
    settings: Settings

    @property
    def of_one_template(self) -> tuple[Told, Told]:
        return self.first, self.second

    @property
    def at_once(self) -> tuple[Told, Told]:
        """Those that go on from the same saved VM."""
        return self.first, self.other


@pytest.fixture(scope="module")
def built(prepared: Settings, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The builds; those at once make what they go on from, if nobody has."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VMKILN_ALLOWED_RESIDUES", GATES["VMKILN_ALLOWED_RESIDUES"])
        patch.setenv("VMKILN_CHECKPOINTS", "commands")
        patch.setenv("VMKILN_BOOT_GATE", "true" if "odd" in DAYS else "false")
        settings = read_settings()
    files = tmp_path_factory.mktemp("files")
    assert settings.home == prepared.home
    scope = checkpoint.scope_of(template_id="", resource_group="tests", name="kept")
    checkpoint.forget(settings.saved_vms, scope)
    last: list[dict[str, Any]] = [shell(*WHO, HAS, f"echo edit {number}", name="three") for number in (1, 2)]
    targets = [{**TARGET, "imageId": f"{IMAGES}/images/kept-{number}"} for number in (1, 2, 3)]
    earlier, later, again = (
        a_template(ONE, TWO, three, name="kept", distribute=[target])
        for three, target in zip([*last, last[-1]], targets, strict=True)
    )
    another = {**a_template(shell(*WHO, name="who"), name="goes-on"), "tags": {KEPT_TAG: "false"}}
    first, other = told_at_once(settings, files, Wanted(earlier), Wanted(another))
    second = runner(settings, files)(later)
    same = runner(settings, files)(again)
    checkpoint.forget(settings.saved_vms, scope)
    for one in (first, second, same, other):
        assert one.error is None, one.error
    return Built(first, second, same, other, again, settings)


@pytest.fixture(scope="module")
def cold(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Told:
    """The edited template once more, from a VM that was booted for it."""
    target = {**TARGET, "imageId": f"{IMAGES}/images/kept-cold"}
    template = {**built.again, "properties": {**built.again["properties"], "distribute": [target]}}
    told = runner(replace(built.settings, warm_starts=False), tmp_path_factory.mktemp("cold"))(template)
    assert told.error is None, told.error
    return told


def went_on(run: Told) -> list[str]:
    """What was said of the build VM's start."""
    return [one.text for one in run.events if isinstance(one, Notice) and one.text.startswith("the build-vm")]


def test_two_builds_that_go_on_from_the_same_are_two_machines(built: Built) -> None:
    for run in built.at_once:
        (said,) = went_on(run)
        assert "goes on from one that was booted and saved" in said
        boots = [part["start"] for part in run.summary["timeline"] if part["name"] == "build-vm"]
        assert boots[-1] == Start.WARM
        assert run.summary["facts"]["build-vm_went_on"] is True
    first, second = (words(run, "ID") for run in built.at_once)
    assert set(first) == {"machine", "boot", "host-key", "login-key", "random", "journal", *STARTED_ANEW}
    assert not [name for name, value in first.items() if second[name] == value]
    for ids in (first, second):
        assert ids["journal"] == ids["machine"]


def test_one_that_goes_on_has_time_and_network_and_nothing_left_over(built: Built) -> None:
    state = {name: int(value) for name, value in words(built.other, "IS").items()}
    assert abs(state["late"]) <= 2
    assert state["timers"] > 0
    assert {name: state[name] for name in REST} == REST


def test_no_build_changed_what_others_go_on_from(built: Built, settings: Settings) -> None:
    assert built.first.error is None
    places = [path.parent for path in settings.saved_vms.glob(f"*/{saved_vm.DISK}")]
    found = [saved for place in places if (saved := saved_vm.found(settings.saved_vms, place.name)) is not None]
    assert found
    assert all(saved_vm.is_whole(saved) for saved in found)


def test_with_the_last_of_three_edited_only_that_one_runs_again(built: Built) -> None:
    began = [
        [(one.index, one.count, one.name) for one in run.events if isinstance(one, StepStarted) and one.name != "boot"]
        for run in built.of_one_template
    ]
    assert began[0] == [(0, 3, "one"), (1, 3, "two"), (2, 3, "three"), (3, 3, "deprovision")]
    assert began[1] == [(2, 3, "three"), (3, 3, "deprovision")]
    assert [line for line in built.second.log if "edit 2" in line]
    assert "    null: HAS one two" in built.second.log, "what the two before did is there"
    parts = [(part["kind"], part["name"], part["start"]) for part in built.second.summary["timeline"]]
    assert (PartKind.BOOT, "build-vm", Start.KEPT) in parts
    assert (PartKind.CHECKPOINT, "two", Start.COLD) not in parts
    fact = built.second.summary["facts"]["checkpoint"]
    assert (fact["run_id"], fact["position"], fact["step"]) == (built.first.run_id, 2, "two")
    said = [
        one.text for one in built.second.events if isinstance(one, Notice) and "behind customizer 2 of 3" in one.text
    ]
    assert len(said) == 1
    assert built.first.run_id[:8] in said[0]


def test_two_builds_of_which_one_began_behind_the_other_are_two_machines(built: Built) -> None:
    first, second = (words(run, "ID") for run in built.of_one_template)
    assert set(first) == {"machine", "boot", "host-key", "login-key", "random", "journal", *STARTED_ANEW}
    assert not [name for name, value in first.items() if second[name] == value]
    before, state = ({name: int(value) for name, value in words(run, "IS").items()} for run in built.of_one_template)
    assert abs(before["late"]) <= 2, "it stood still, and caught up"
    assert abs(state["late"]) <= 2
    assert state["scripts"] == 1, "its own"
    assert state["logins"] <= before["logins"]
    assert {name: state[name] for name in REST} == REST


def shown(run: Told, *words: str) -> Any:
    """What the command line says of the run's image."""
    (output,) = run.summary["outputs"]
    said = subprocess.run([*VMKILN, "image", *words, output["artifact_id"]], capture_output=True, check=True)
    return json.loads(said.stdout)


def test_the_provenance_names_the_run_that_an_image_began_behind(built: Built) -> None:
    first, second = (
        shown(run, "provenance")["predicate"]["buildDefinition"]["internalParameters"] for run in built.of_one_template
    )
    assert "checkpoint" not in first
    assert second["checkpoint"] == built.second.summary["facts"]["checkpoint"]
    assert second["checkpoint"]["no_persistence"] is False


def path_of(run: Told) -> Path:
    """Where the run's image lies."""
    return Path(shown(run, "show", "--json")["path"])


def tree_of(run: Told, folder: Path) -> dict[str, Entry]:
    """The files of the run's image; works in a new folder."""
    folder.mkdir()
    return file_tree(path_of(run), folder)


def check_same(first: dict[str, Entry], second: dict[str, Entry]) -> None:
    """The files are the same but for what is listed, and that has the same kind, owner and attributes."""
    assert {"/opt/one", "/opt/two", "/etc/passwd", "/usr/bin/sudo"} <= first.keys()
    assert first["/opt/one"].attributes == ('user.made (9) = "by a step"',)
    differing = {path for path in first.keys() | second.keys() if first.get(path) != second.get(path)}
    assert not {path: (first.get(path), second.get(path)) for path in differing - MAY_DIFFER}
    assert all(first[path][:3] == second[path][:3] for path in differing & MAY_DIFFER)
    assert all(first[path].attributes == second[path].attributes for path in differing & MAY_DIFFER)


def check_same_beside_files(first: Told, second: Told, raw: Path) -> tuple[float, float]:
    """Partition table and packages are the same; gives how long each of the images takes to boot, 0 where untold."""
    assert partition_table(path_of(first), raw) == partition_table(path_of(second), raw)
    ids = [run.summary["outputs"][0]["artifact_id"] for run in (first, second)]
    command = [*VMKILN, "image", "diff", "--json", *ids]
    told = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert (told["added"], told["removed"], told["changed"], told["unproven"]) == ({}, {}, {}, [])
    seconds, others = told.get("boot_seconds") or (0.0, 0.0)
    return seconds, others


def test_an_image_is_the_same_from_a_checkpoint_as_from_the_first_step(built: Built, tmp_path: Path) -> None:
    first, second = built.of_one_template
    check_same(tree_of(first, tmp_path / "first"), tree_of(second, tmp_path / "second"))
    check_same_beside_files(first, second, tmp_path / "raw")


@ON_ODD_DAYS
def test_an_image_is_the_same_cold_as_warm_and_from_a_checkpoint(built: Built, cold: Told, tmp_path: Path) -> None:
    boots = [part["start"] for part in cold.summary["timeline"] if part["name"] == "build-vm"]
    assert boots[-1] == Start.COLD
    assert "checkpoint" not in cold.summary["facts"]
    tree = tree_of(cold, tmp_path / "cold")
    for name, other in (("warm", built.first), ("kept", built.second)):
        check_same(tree, tree_of(other, tmp_path / name))
        shorter, longer = sorted(check_same_beside_files(cold, other, tmp_path / "raw"))
        assert 0 < shorter <= longer <= shorter * MOST_BOOT_RATIO


def test_with_nothing_edited_no_step_runs_and_the_image_is_the_same(built: Built, tmp_path: Path) -> None:
    assert not [one for one in built.same.events if isinstance(one, StepStarted)]
    parts = [(part["kind"], part["name"], part["start"]) for part in built.same.summary["timeline"]]
    assert [part for part in parts if part[0] == PartKind.BOOT] == [(PartKind.BOOT, "build-vm", Start.KEPT)]
    assert next(part for part in parts if part[0] == PartKind.GATE) == (PartKind.GATE, "hygiene", Start.KEPT)
    held = shown(built.same, "provenance")["predicate"]["buildDefinition"]["internalParameters"]["confinement"]
    assert not [machine for machine in held if machine.endswith("-vm")], "no VM ran, not even to look at the disk"
    fact = built.same.summary["facts"]["checkpoint"]
    assert (fact["run_id"], fact["position"], fact["step"]) == (built.second.run_id, 4, "deprovision")
    before, after = (run.summary["facts"]["hygiene"] for run in (built.second, built.same))
    assert (after["verdict"], after["unproven"]) == (before["verdict"], before["unproven"])
    assert shown(built.same, "provenance")["predicate"]["buildDefinition"]["internalParameters"]["checkpoint"] == fact
    assert tree_of(built.second, tmp_path / "second") == tree_of(built.same, tmp_path / "same")
