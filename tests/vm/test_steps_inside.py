"""One real build whose steps do what people's steps do: restart the VM, talk much, leave things running, keep files.

The build runs once for all tests of this file but the last, whose own one runs at the same time; each test looks at one
promise.

A restart is one minute to one and a half of CPU when it is emulated, so the VM is restarted in one of two ways a day,
in the other on the next, and in both in the long tier. Without a VM both ways are tried every day:
`tests/unit/packer/test_step_runner.py`, `test_step_watch.py` there, and `tests/unit/run/test_vm_pair.py`.
"""

import hashlib
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
import tiers
from conftest import VMKILN, Told, Wanted, a_template, shell, told_at_once, unchanged_world
from file_tree import content_of, root_file_system

from vmkiln.run.run_event import Notice
from vmkiln.run_failures import VirtualMachineLost
from vmkiln.settings import Settings

pytestmark = pytest.mark.vm

TAIL = b"PK\r\n\x00\xff\r\n\r\nend"
INSTALLER = b"#!/bin/sh -e\nsed '1,/^#PAYLOAD$/d' \"$0\" | sha256sum\nexit 0\n#PAYLOAD\n" + TAIL
OWN_SCRIPT = "/tmp/DeprovisioningScript.sh"
KEPT = "/var/log/app/install.log /var/log/build-manifest.txt /var/tmp/keep.txt /root/.cache/tool/data"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExample ops@example.org"
RESTARTS = {
    "reboot": (
        shell("sudo touch /etc/before-reboot", "sudo systemctl reboot", "sleep 300", name="reboot"),
        shell("test -f /etc/before-reboot && test ! -e /run/nologin", name="behind"),
    ),
    # a script that has ended before the VM goes down, and no step of the user's after it
    "last-in-background": (shell("nohup sh -c 'sleep 2; sudo reboot' > /dev/null 2>&1 &", name="last-in-background"),),
}
TRIED = tiers.one(list(RESTARTS))
STEPS = (
    shell(
        "for i in $(seq 240); do [ -f /var/lib/cloud/instance/boot-finished ] && break; sleep 0.5; done",
        "test -f /var/lib/cloud/instance/boot-finished",
        f"sudo sed -i 's/-deprovision+user/-deprovision/' {OWN_SCRIPT}",
        f"grep -e '-force -deprovision ' {OWN_SCRIPT}",
        "sudo install -d -o packer /opt/app && sudo install -d /var/log/app /root/.cache/tool",
        f"echo installed | sudo tee {KEPT} > /dev/null",
        f"echo '{KEY}' | sudo tee -a /root/.ssh/authorized_keys > /dev/null",
        name="prepare",
    ),
    {"type": "Shell", "name": "installer", "scriptUri": "file:installer.run"},
    {"type": "File", "name": "file", "sourceUri": "file:payload", "destination": "/opt/app/payload"},
    shell("seq 1 20000; seq 1 100 >&2", name="chatty"),
    shell("(sleep 4; echo late) &", name="left-running"),
    *(RESTARTS["reboot"] if "reboot" in TRIED else ()),
    shell(
        f"test -x {OWN_SCRIPT}",
        "sudo touch /etc/cloud/cloud-init.disabled",  # once it was there in a restart; emulated it takes half a minute
        "echo is back",
        name="back",
    ),
    *(RESTARTS["last-in-background"] if "last-in-background" in TRIED else ()),
)


@dataclass(frozen=True)
class Builds:
    """The build, and one that is turned off in its first step."""

    built: Told
    turned_off: Told


@pytest.fixture(scope="module")
def builds(prepared: Settings, tmp_path_factory: pytest.TempPathFactory) -> Builds:
    files = tmp_path_factory.mktemp("files")
    (files / "installer.run").write_bytes(INSTALLER)
    (files / "payload").write_bytes(TAIL)
    goodbye = a_template(shell("sudo poweroff", name="goodbye"), shell("true", name="never"), name="turned-off")
    with unchanged_world(prepared):
        told = told_at_once(prepared, files, Wanted(a_template(*STEPS, name="steps-inside")), Wanted(goodbye))
    return Builds(*told)


@pytest.fixture(scope="module")
def built(builds: Builds) -> Told:
    told = builds.built
    assert told.error is None, "\n".join([str(told.error), *told.log[-40:]])
    return told


def notices(told: Told) -> list[str]:
    return [event.text for event in told.events if isinstance(event, Notice)]


def test_a_step_that_restarts_the_vm_is_named_and_the_next_one_waits(built: Told) -> None:
    for step in TRIED:
        restarts = f"the build-vm restarts during `{step}`; waiting until Packer can log in again"
        assert notices(built).count(restarts) == 1
    assert "    null: is back" in built.log


def test_a_self_extracting_script_has_its_own_bytes_in_the_vm(built: Told) -> None:
    assert f"    null: {hashlib.sha256(TAIL).hexdigest()}  -" in built.log


def test_all_lines_of_a_talkative_step_are_in_the_log(built: Told) -> None:
    lines = [line.removeprefix("    null: ") for line in built.log]
    begin = lines.index("1")
    assert [line for line in lines[begin:] if line.isdigit()][:20000] == [str(number) for number in range(1, 20001)]


def test_what_a_step_left_running_is_waited_for(built: Told) -> None:
    assert "    null: late" in built.log
    assert any("the script has ended; waiting up to 120 s for what it left running" in line for line in built.log)


def test_the_log_says_what_deprovisioning_took_away(built: Told) -> None:
    said = [line for line in built.log if "[deprovision]" in line]
    assert any("emptied in /var/log:" in line and "wtmp" in line for line in said)
    assert not any("build-manifest" in line or "install.log" in line for line in said)
    assert any("removed ssh host keys:" in line for line in said)
    assert any("removed what the build brought in" in line for line in said)


def test_what_customizers_made_is_in_the_image(built: Told, tmp_path: Path) -> None:
    (output,) = built.summary["outputs"]
    said = subprocess.run([*VMKILN, "image", "show", "--json", output["artifact_id"]], capture_output=True, check=True)
    root = root_file_system(Path(json.loads(said.stdout)["path"]), tmp_path / "raw")
    assert {path: content_of(root, path) for path in KEPT.split()} == dict.fromkeys(KEPT.split(), b"installed\n")
    assert b"ops@example.org" in content_of(root, "/root/.ssh/authorized_keys")
    assert content_of(root, "/var/log/dpkg.log") == b""
    assert b"Package: " in content_of(root, "/var/lib/dpkg/status"), "what is there is found"


def test_a_step_that_turns_the_vm_off_is_named(builds: Builds) -> None:
    told = builds.turned_off
    assert isinstance(told.error, VirtualMachineLost)
    assert "the build-vm was turned off in `goodbye` (properties.customize[0])" in told.error.message
