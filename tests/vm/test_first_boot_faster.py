"""`optimize.vmBoot`, for real: an image whose boot menu waits starts sooner without, which two boots each show."""

from pathlib import Path

import pytest
from conftest import a_template, runner, shell

from vmkiln.run.run_event import PhaseStarted
from vmkiln.run_state import Phase
from vmkiln.settings import Settings

pytestmark = [pytest.mark.vm, pytest.mark.long, pytest.mark.usefixtures("world")]

MENU = shell(
    "sudo sed -i s/GRUB_TIMEOUT=0/GRUB_TIMEOUT=40/ /etc/default/grub",
    "sudo update-grub",
    "grep -q 'set timeout=40' /boot/grub/grub.cfg",
)
IS_GONE = shell(
    "if grep 'timeout=40' /boot/grub/grub.cfg; then exit 1; fi",  # what `!` negates ends no script
    "grep -qx GRUB_TIMEOUT=0 /etc/default/grub",
    name="gone",
)


def test_a_menu_that_waits_is_taken_away_and_what_that_gains_is_on_record(prepared: Settings, tmp_path: Path) -> None:
    validate = {"inVMValidations": [IS_GONE]}
    run_template = runner(prepared, tmp_path)
    told = run_template(a_template(MENU, optimize={"vmBoot": {"state": "Enabled"}}, validate=validate))
    assert told.error is None
    assert told.summary["state"] == "Succeeded"
    fact = told.summary["facts"]["vm_boot"]
    assert fact["is_kept"]
    assert "boot-menu" in fact["trimmed"]
    assert min(fact["seconds_after"]) < min(fact["seconds_before"])
    phases = [event.phase for event in told.events if isinstance(event, PhaseStarted)]
    assert phases.index(Phase.OPTIMIZING) == phases.index(Phase.CUSTOMIZING) + 1
    parts = [part["name"] for part in told.summary["timeline"] if part["kind"] == "boot"]
    measured = [name for name in parts if name.startswith("vmBoot")]
    assert measured == ["vmBoot before 1", "vmBoot after 1", "vmBoot before 2", "vmBoot after 2"]
