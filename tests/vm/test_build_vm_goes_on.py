"""Build VMs that go on from one that was booted and saved: who they are, and what it leaves in their images."""

import pytest
from conftest import GATES, Told, a_template, runner, shell

from vmkiln.host.saved import saved_vm
from vmkiln.run.run_event import Notice
from vmkiln.run_state import Start
from vmkiln.settings import Settings
from vmkiln.settings_sources import read_settings

pytestmark = pytest.mark.vm

WHO = shell(
    "echo ID machine $(cat /etc/machine-id)",
    "echo ID boot $(cat /proc/sys/kernel/random/boot_id)",
    "echo ID host-key $(cut -d' ' -f2 /etc/ssh/ssh_host_ed25519_key.pub)",
    "echo ID login-key $(grep -c vmkiln-build ~/.ssh/authorized_keys) $(cut -d' ' -f2 ~/.ssh/authorized_keys)",
    "echo ID random $(head -c 32 /dev/urandom | sha256sum)",
    "echo ID journal $(ls /var/log/journal /run/log/journal 2> /dev/null | grep '^[0-9a-f]*$')",
    "echo IS late $(( $(date +%s) - $(cat /sys/class/rtc/rtc0/since_epoch) ))",
    "echo IS route $(ip -4 route show default | wc -l)",
    "echo IS failed $(systemctl list-units --state=failed --no-legend | wc -l)",
    "echo IS timers $(systemctl list-units --type=timer --state=active --no-legend | wc -l)",
    "echo IS waiting $(ls -d /run/vmkiln /run/systemd/transient/vmkiln* 2> /dev/null | wc -l)",
    "echo IS keys $(ls /etc/ssh/ssh_host_*_key | wc -l)",
    name="who",
)


def told_by(run: Told, kind: str) -> dict[str, str]:
    lines = [line.removeprefix("    null: ") for line in run.log]
    words = [line.split(" ", 2) for line in lines if line.startswith(f"{kind} ")]
    return {name: value for _, name, value in words}


@pytest.fixture(scope="module")
def built(prepared: Settings, tmp_path_factory: pytest.TempPathFactory) -> tuple[Told, Told]:
    """Two builds of the same source, behind the hygiene gate; the first makes what both go on from, if nobody has."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VMKILN_ALLOWED_RESIDUES", GATES["VMKILN_ALLOWED_RESIDUES"])
        run = runner(read_settings(), tmp_path_factory.mktemp("files"))
    first, second = (run(a_template(WHO, name=f"goes-on-{number}")) for number in (1, 2))
    for one in (first, second):
        assert one.error is None, one.error
    return first, second


def test_two_builds_that_go_on_from_the_same_are_two_machines(built: tuple[Told, Told]) -> None:
    for run in built:
        said = [one.text for one in run.events if isinstance(one, Notice) and one.text.startswith("the build-vm")]
        assert len(said) == 1
        assert "goes on from one that was booted and saved" in said[0]
        boots = [part["start"] for part in run.summary["timeline"] if part["name"] == "build-vm"]
        assert boots[-1] == Start.WARM
        assert run.summary["facts"]["build-vm_went_on"] is True
    first, second = (told_by(run, "ID") for run in built)
    assert set(first) == {"machine", "boot", "host-key", "login-key", "random", "journal"}
    assert not [name for name, value in first.items() if second[name] == value]
    for ids in (first, second):
        assert ids["journal"] == ids["machine"]


def test_one_that_goes_on_has_time_and_network_and_nothing_left_over(built: tuple[Told, Told]) -> None:
    for run in built:
        state = {name: int(value) for name, value in told_by(run, "IS").items()}
        assert abs(state.pop("late")) <= 2
        assert state.pop("timers") > 0
        assert state == {"route": 1, "failed": 0, "waiting": 0, "keys": 1}


def test_no_build_changed_what_others_go_on_from(built: tuple[Told, Told], settings: Settings) -> None:
    assert built[0].error is None
    places = [path.parent for path in settings.saved_vms.glob(f"*/{saved_vm.DISK}")]
    found = [saved for place in places if (saved := saved_vm.found(settings.saved_vms, place.name)) is not None]
    assert found
    assert all(saved_vm.is_whole(saved) for saved in found)
