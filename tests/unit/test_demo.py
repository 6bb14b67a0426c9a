"""script/demo: in the group that it was just given, it builds as if the user had logged in anew."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GROUP = 4242


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose set-up and commands are written down instead of done."""
    folder = tmp_path / "checkout"
    (folder / "script").mkdir(parents=True)
    (folder / ".venv/bin").mkdir(parents=True)
    shutil.copy(ROOT / "script/demo", folder / "script/demo")
    program(folder / "script/bootstrap", "echo bootstrap >> journal")
    program(folder / ".venv/bin/vmkiln", "echo vmkiln $1 login=${VMKILN_DEMO_LOGIN-none} home=$VMKILN_HOME >> journal")
    return folder


def program(path: Path, script: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/bash\n{script}\n")
    path.chmod(0o755)


def demonstrate(checkout: Path, *, session_groups: str, may_write: bool = False) -> list[str]:
    """Run it as a member of the device's group, whose session has these groups; returns what was done."""
    programs = checkout.parent / "bin"
    device = checkout.parent / "kvm"
    device.touch()
    program(programs / "stat", f"echo {GROUP}")
    program(programs / "id", f'case "$*" in -un) echo ada ;; "-G -- ada") echo 1000 {GROUP} ;; *) echo {session_groups} ;; esac')  # fmt: skip  # noqa: E501
    program(programs / "sudo", 'echo "sudo $1 $2" >> journal; exec "${@:4}"')
    device.chmod(0o600 if may_write else 0o400)
    subprocess.run(
        ["/bin/bash", checkout / "script/demo"],
        env={
            "PATH": f"{programs}:{os.environ['PATH']}",
            "HOME": str(checkout),
            "KVM_DEVICE": str(device),
            "VMKILN_HOME": "/state",
        },
        check=True,
        capture_output=True,
        cwd=checkout,
    )
    return (checkout / "journal").read_text().splitlines()


BUILT = [f"vmkiln {word} login=none home=/state" for word in ("doctor", "prepare", "build", "image", "run", "staging")]
needs_ordinary_user = pytest.mark.skipif(os.geteuid() == 0, reason="as root, the demo steps aside for another user")


@needs_ordinary_user
def test_a_group_that_was_just_given_counts_for_this_build(checkout: Path) -> None:
    assert demonstrate(checkout, session_groups="1000") == ["bootstrap", "sudo -u ada", "bootstrap", *BUILT]


@needs_ordinary_user
@pytest.mark.parametrize(("session_groups", "may_write"), [(f"1000 {GROUP}", False), ("1000", True)])
def test_nobody_logs_in_anew_without_need(checkout: Path, session_groups: str, may_write: bool) -> None:
    assert demonstrate(checkout, session_groups=session_groups, may_write=may_write) == ["bootstrap", *BUILT]
