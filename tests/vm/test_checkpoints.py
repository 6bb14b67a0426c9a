"""A build that begins behind what an earlier one of the same template left: what runs again, and who its VM is."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from conftest import GATES, IMAGES, VMKILN, Told, a_template, runner, shell
from file_tree import file_tree

from vmkiln.run.run_event import Notice, StepStarted
from vmkiln.run_state import PartKind, Start
from vmkiln.settings import Settings
from vmkiln.settings_sources import read_settings
from vmkiln.warm import checkpoint

pytestmark = pytest.mark.vm

ONE = shell("echo one | sudo tee /opt/one", name="one")
TWO = shell("(cat /opt/one; echo two) | sudo tee /opt/two", name="two")
WHO = (
    "echo ID machine $(cat /etc/machine-id)",
    "echo ID boot $(cat /proc/sys/kernel/random/boot_id)",
    "echo ID host-key $(cut -d' ' -f2 /etc/ssh/ssh_host_ed25519_key.pub)",
    "echo ID login-key $(grep -c vmkiln-build ~/.ssh/authorized_keys) $(cut -d' ' -f2 ~/.ssh/authorized_keys)",
    "echo ID random $(head -c 32 /dev/urandom | sha256sum)",
    "echo ID journal $(ls /var/log/journal /run/log/journal 2> /dev/null | grep '^[0-9a-f]*$')",
    "echo IS late $(( $(date +%s) - $(cat /sys/class/rtc/rtc0/since_epoch) ))",
    "echo IS route $(ip -4 route show default | wc -l)",
    "echo IS failed $(systemctl list-units --state=failed --no-legend | wc -l)",
    "echo IS waiting $(ls -d /run/vmkiln /run/systemd/transient/vmkiln* 2> /dev/null | wc -l)",
    "echo IS logins $(pgrep -cx sshd)",
    "echo IS scripts $(ls /run/packer | grep -c script_)",
    "echo HAS $(cat /opt/two)",
)
TARGET = {"type": "ManagedImage", "runOutputName": "image", "location": "local"}
# the time of each login and of each boot; nothing else of an image tells where its build began
MAY_DIFFER = {"/var/log/wtmp", "/var/log/lastlog"}


def words(run: Told, kind: str) -> dict[str, str]:
    lines = [line.removeprefix("    null: ") for line in run.log]
    return {line.split(" ", 2)[1]: line.split(" ", 2)[2] for line in lines if line.startswith(f"{kind} ")}


@pytest.fixture(scope="module")
def built(prepared: Settings, tmp_path_factory: pytest.TempPathFactory) -> tuple[Told, Told]:
    """A build of three customizers, and one with the last of them edited, both behind the hygiene gate."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VMKILN_ALLOWED_RESIDUES", GATES["VMKILN_ALLOWED_RESIDUES"])
        patch.setenv("VMKILN_CHECKPOINTS", "commands")
        settings = read_settings()
        run = runner(settings, tmp_path_factory.mktemp("files"))
    assert settings.home == prepared.home
    scope = checkpoint.scope_of(template_id="", resource_group="tests", name="kept")
    checkpoint.forget(settings.saved_vms, scope)
    last: list[dict[str, Any]] = [shell(*WHO, f"echo edit {number}", name="three") for number in (1, 2)]
    targets = [{**TARGET, "imageId": f"{IMAGES}/images/kept-{number}"} for number in (1, 2)]
    first, second = (
        run(a_template(ONE, TWO, three, name="kept", distribute=[target]))
        for three, target in zip(last, targets, strict=True)
    )
    checkpoint.forget(settings.saved_vms, scope)
    for one in (first, second):
        assert one.error is None, one.error
    return first, second


def test_with_the_last_of_three_edited_only_that_one_runs_again(built: tuple[Told, Told]) -> None:
    began = [[(one.index, one.count, one.name) for one in run.events if isinstance(one, StepStarted)] for run in built]
    assert began[0] == [(0, 3, "one"), (1, 3, "two"), (2, 3, "three"), (3, 3, "deprovision")]
    assert began[1] == [(2, 3, "three"), (3, 3, "deprovision")]
    assert [line for line in built[1].log if "edit 2" in line]
    assert "    null: HAS one two" in built[1].log, "what the two before did is there"
    parts = [(part["kind"], part["name"], part["start"]) for part in built[1].summary["timeline"]]
    assert (PartKind.BOOT, "build-vm", Start.KEPT) in parts
    assert (PartKind.CHECKPOINT, "two", Start.COLD) not in parts
    fact = built[1].summary["facts"]["checkpoint"]
    assert (fact["run_id"], fact["position"], fact["step"]) == (built[0].run_id, 2, "two")
    said = [one.text for one in built[1].events if isinstance(one, Notice) and "behind customizer 2 of 3" in one.text]
    assert len(said) == 1
    assert built[0].run_id[:8] in said[0]


def test_two_builds_of_which_one_began_behind_the_other_are_two_machines(built: tuple[Told, Told]) -> None:
    first, second = (words(run, "ID") for run in built)
    assert set(first) == {"machine", "boot", "host-key", "login-key", "random", "journal"}
    assert not [name for name, value in first.items() if second[name] == value]
    before, state = ({name: int(value) for name, value in words(run, "IS").items()} for run in built)
    assert abs(before["late"]) <= 2, "it stood still, and caught up"
    assert abs(state["late"]) <= 2
    assert state["scripts"] == 1, "its own"
    assert state["logins"] <= before["logins"]
    assert {name: state[name] for name in ("route", "failed", "waiting")} == {"route": 1, "failed": 0, "waiting": 0}


def shown(run: Told, *words: str) -> Any:
    """What the command line says of the run's image."""
    (output,) = run.summary["outputs"]
    said = subprocess.run([*VMKILN, "image", *words, output["artifact_id"]], capture_output=True, check=True)
    return json.loads(said.stdout)


def test_the_provenance_names_the_run_that_an_image_began_behind(built: tuple[Told, Told]) -> None:
    first, second = (shown(run, "provenance")["predicate"]["buildDefinition"]["internalParameters"] for run in built)
    assert "checkpoint" not in first
    assert second["checkpoint"] == built[1].summary["facts"]["checkpoint"]
    assert second["checkpoint"]["no_persistence"] is False


def test_an_image_is_the_same_from_a_checkpoint_as_from_the_first_step(
    built: tuple[Told, Told], tmp_path: Path
) -> None:
    trees = []
    for number, run in enumerate(built):
        (tmp_path / str(number)).mkdir()
        trees.append(file_tree(Path(shown(run, "show", "--json")["path"]), tmp_path / str(number)))
    first, second = trees
    assert {"/opt/one", "/opt/two", "/etc/passwd", "/usr/bin/sudo"} <= first.keys()
    differing = {path for path in first.keys() | second.keys() if first.get(path) != second.get(path)}
    assert not {path: (first.get(path), second.get(path)) for path in differing - MAY_DIFFER}
    assert all(first[path][:3] == second[path][:3] for path in differing & MAY_DIFFER)
