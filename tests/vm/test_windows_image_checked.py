"""`vmkiln image import --check` of an image that plays Windows: looked at, booted, and logged in to by a first logon.

Its set-up runs no script at its end, as with the key of a maker: the first way fails, and the second is kept.
"""

import asyncio
import json
import subprocess
from pathlib import Path

import pytest
from conftest import VMKILN
from windows_guest_disk import add_registry, make_disk
from windows_volume import TITLE

from vmkiln.run_state import RunState
from vmkiln.settings import Settings
from vmkiln.store.database import opened
from vmkiln.windows.login_tag import Hook, gate_of

pytestmark = [pytest.mark.vm, pytest.mark.long, pytest.mark.usefixtures("world")]
NAME = "Contoso:windows-double:2022-gen2:1.0.0"
SECONDS = 1500


def test_a_check_logs_in_by_the_second_way_where_the_first_fails(prepared: Settings, tmp_path: Path) -> None:
    disk, workplace = tmp_path / "disk.raw", tmp_path / "workplace"
    workplace.mkdir()
    asyncio.run(make_disk(disk, workplace, is_oem=True))
    add_registry(disk)
    command = [*VMKILN, "image", "import", disk, "--as", NAME, "--os-type", "Windows", "--check", "--emulated"]
    try:
        done = subprocess.run([*command, "--json"], check=False, capture_output=True, text=True, timeout=SECONDS)
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert (found["system"], found["check"]["login"]) == (TITLE, Hook.FIRST_LOGON)
        first, second = found["check"]["tried"]
        assert "with this key no script is run" in first["problem"]
        assert second["problem"] == ""
        with opened(prepared.database_address) as store:
            verdicts = [store.verdicts.known(gate_of(hook), found["digest"]) for hook in Hook]
            states = [store.runs.find(one["run_id"]).state for one in (first, second)]
        assert verdicts[0] is None
        assert verdicts[1] is not None
        assert states == [RunState.FAILED, RunState.SUCCEEDED]
    finally:
        subprocess.run([*VMKILN, "image", "delete", NAME, "--yes"], check=False)
