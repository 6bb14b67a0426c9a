"""The program that looks at a Windows, on an NTFS volume with real registry hives in a file of this machine's own.

`disks/windows.blocks.xz` is a volume that no build has touched, `disks/windows-left.blocks.xz` one that has all that
a build brings along and has not taken away (`windows_volume.py`). The VM runs the same functions with its disk.
"""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from windows_volume import LEFT, PARTITION, disk_bytes

from vmkiln.inspecting import windows_image
from vmkiln.inspecting.windows_image import FUNCTIONS, PROGRAMS
from vmkiln.inspecting.windows_residues import WindowsLook, read_residues

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ["busybox", *PROGRAMS])), reason="not all programs that read a Windows are installed"
)
SCRIPT = Path(windows_image.__file__).with_name(FUNCTIONS)
LEFT_OF_A_BUILD = [
    "answer-file: Windows/Panther/Unattend/Unattend.xml",
    "build-user: SAM, packer",
    "build-user: SOFTWARE, LogonUI",
    "build-user: SOFTWARE, ProfileList S-1-5-21-1-2-3-1001",
    "build-user: SOFTWARE, Winlogon DefaultUserName",
    "build-user: Users/packer",
    "history: Windows/System32/config/systemprofile/AppData/Roaming/Microsoft/Windows/PowerShell/PSReadLine/"
    "ConsoleHost_history.txt",
    "login-key: SOFTWARE, WSMAN Listener *+HTTPS",
    "login-key: SOFTWARE, certificate 0123456789ABCDEF0123456789ABCDEF01234567",
    "login-key: SYSTEM, FirewallRules vmkiln-build",
    "packer-files: DeprovisioningScript.ps1",
    "packer-files: SOFTWARE, RunOnce",
    "packer-files: SOFTWARE, TaskCache vmkiln-finish",
    "packer-files: SOFTWARE, vmkiln",
    "packer-files: Windows/Setup/Scripts/SetupComplete.cmd",
    "packer-files: Windows/System32/Tasks/packer-1234",
    "packer-files: Windows/Temp/packer-elevated-shell-1.ps1",
    "packer-files: Windows/Temp/script-1234.ps1",
    "packer-files: Windows/Temp/vmkiln",
]


@pytest.fixture
def look(tmp_path: Path) -> Callable[[bytes], WindowsLook]:
    """Looks at a volume as the VM does, without the VM."""

    def looked(volume: bytes) -> WindowsLook:
        file, work = tmp_path / "volume", tmp_path / "work"
        file.write_bytes(volume)
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        program = f". {SCRIPT}; work={work}; residues {file}; tell end ''"
        ran = subprocess.run(["busybox", "sh", "-c", program], check=True, capture_output=True, timeout=120)
        assert ran.stderr == b""
        assert file.read_bytes() == volume, "who looks does not write"
        return read_residues(ran.stdout)

    return looked


def test_all_that_a_build_may_leave_in_a_windows_is_found(look: Callable[[bytes], WindowsLook]) -> None:
    found = look(bytes(disk_bytes(LEFT)[PARTITION:]))
    assert [str(one) for one in found.found] == LEFT_OF_A_BUILD
    assert sorted(found.told) == [
        "WinRM takes logins by Basic: SOFTWARE, WSMAN Service",
        "a history of what somebody typed: Users/jane/AppData/Roaming/Microsoft/Windows/PowerShell/PSReadLine/"
        "ConsoleHost_history.txt",
        "a password for a logon without asking: SOFTWARE, Winlogon DefaultPassword",
        "an answer file, which set-up will take: Windows/Panther/unattend.xml",
        "local administrators have all their rights over the network: SOFTWARE, Policies System",
    ]
    assert found.unproven == ("SECURITY, DefaultPassword: the password of a logon without asking is encrypted",)


def test_in_a_windows_that_no_build_touched_nothing_is_found(look: Callable[[bytes], WindowsLook]) -> None:
    found = look(bytes(disk_bytes()[PARTITION:]))
    assert found.found == ()
    assert len(found.unproven) == 2, "it has no SAM and no SECURITY, and what is not there was not read"


def test_a_hive_whose_log_has_more_is_unproven(look: Callable[[bytes], WindowsLook]) -> None:
    volume = disk_bytes(LEFT)[PARTITION:]
    places = [at for at in range(0, len(volume), 4096) if volume[at : at + 4] == b"regf"]
    for at in places:
        volume[at + 4] ^= 1
        total = 0
        for word in range(0, 508, 4):
            total ^= int.from_bytes(volume[at + word : at + word + 4], "little")
        volume[at + 508 : at + 512] = total.to_bytes(4, "little")
    found = look(bytes(volume))
    assert len([text for text in found.unproven if "is in its log" in text]) == 4, "one for each hive"


def test_a_hive_that_is_none_is_unproven(look: Callable[[bytes], WindowsLook]) -> None:
    volume = bytes(disk_bytes(LEFT)[PARTITION:])
    found = look(volume.replace(b"regf", b"gone"))
    assert len([text for text in found.unproven if "no registry hive" in text]) >= 3
    assert found.found, "what lies in files is found all the same"
