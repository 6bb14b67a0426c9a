"""Which build VMs go on from a saved one, and what is said of those that are booted."""

import errno
from dataclasses import replace
from ipaddress import IPv4Interface
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest

from vmkiln.fetching.guest_way_out import STRAIGHT_OUT, GuestWayOut
from vmkiln.host.qemu import SavedVm
from vmkiln.host.saved import memory_file, saved_vm
from vmkiln.run.run_event import Notice, PartStarted
from vmkiln.run.starts.build_vm_start import copied_disk, sentence, tell_start, why_cold
from vmkiln.run_state import PartKind, Start
from vmkiln.settings import Settings
from vmkiln.staging.topology import Topology
from vmkiln.staging.virtual_network import decide
from vmkiln.warm.saved_base import BaseStart

NETWORK = decide([IPv4Interface("192.0.2.2/24")], is_windows=False)


def staged(**changes: Any) -> Any:
    """A staged run of a Linux image in a network of its own, with what is changed of it."""
    properties = SimpleNamespace(additional_data_disks=changes.get("new_disks", ()))
    template = SimpleNamespace(tags=changes.get("tags", {}), properties=properties)
    source = SimpleNamespace(os_type=changes.get("os_type", "Linux"), data_disks=changes.get("data_disks", ()))
    settings = Settings(home=changes.get("home", Path("/home")), warm_starts=changes.get("warm", True))
    settings = replace(settings, release_policy=changes.get("policy", ""))
    return SimpleNamespace(
        host=SimpleNamespace(settings=settings),
        request=SimpleNamespace(template=template),
        source=source,
        network=changes.get("network", NETWORK),
        way_out=changes.get("way_out", STRAIGHT_OUT),
        tell=changes.get("tell", print),
    )


def test_a_linux_vm_in_a_network_of_the_runs_own_goes_on() -> None:
    assert why_cold(staged()) == ""


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"warm": False}, "warm starts are off"),
        ({"policy": "boot,cold"}, "the release policy demands it"),
        ({"tags": {"VMKILN-cold": "True"}}, "the tag `vmkiln-cold` asks for it"),
        ({"os_type": "Windows"}, "only a Linux VM can be made another machine"),
        ({"network": replace(NETWORK, topology=Topology.USER_SUBNETS)}, "it stands in a network of the user's"),
        ({"data_disks": ("lun0",)}, "it has data disks"),
        ({"new_disks": ("lun0",)}, "it has data disks"),
        ({"way_out": GuestWayOut(proxy="http://proxy:3128")}, "its way out is set up while it boots"),
    ],
)
def test_what_cannot_be_renewed_is_booted_and_the_log_says_why(changes: dict[str, Any], reason: str) -> None:
    assert why_cold(staged(**changes)) == reason
    assert sentence("build-vm", BaseStart(reason=reason)) == f"the build-vm is booted: {reason}"


async def test_a_changed_byte_of_its_disk_and_it_is_thrown_away_and_booted(tmp_path: Path) -> None:
    folder = tmp_path / ("a" * 64)
    folder.mkdir()
    for name in ("memory", "devices", "disk"):
        (folder / name).write_bytes(b"changed")
    saved = SavedVm(folder / "memory", "m", folder / "devices", "d", folder / "disk", "k")
    base = await copied_disk(staged(home=tmp_path), BaseStart(saved, "instance"), tmp_path / "own")
    assert base == BaseStart(reason="the saved disk is not what was saved")
    assert not folder.exists()
    assert not (tmp_path / "own").exists()


async def test_without_room_a_vm_is_booted_and_what_was_saved_serves_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Settings(home=tmp_path).saved_vms
    key = "a" * 64
    workplace = saved_vm.begun(folder, key)
    for name in (saved_vm.MEMORY, saved_vm.DISK):
        (workplace / name).write_bytes(b"saved")
    with (workplace / saved_vm.MEMORY).open("rb") as file:
        saved_vm.finished(workplace, b"devices", memory_file.digest_of(file.fileno()))
    saved_vm.named(workplace)
    saved = saved_vm.found(folder, key)
    assert saved is not None
    start, own = BaseStart(saved, "instance"), tmp_path / "own"
    with monkeypatch.context() as full:
        full.setattr(memory_file, "copied", Mock(side_effect=OSError(errno.ENOSPC, "No space left on device")))
        booted = await copied_disk(staged(home=tmp_path), start, own)
    assert booted.saved is None
    assert booted.reason.startswith("copying the saved disk failed: No space left on device; ")
    assert not own.exists()
    assert not saved_vm.is_refused(folder, key)
    assert await copied_disk(staged(home=tmp_path), start, own) == start, "there is room again"
    assert own.read_bytes() == b"saved"


def test_the_timeline_has_a_warm_boot_and_a_cold_one(tmp_path: Path) -> None:
    told: list[Any] = []
    memory = tmp_path / "memory"
    memory.touch()
    saved = SavedVm(memory, "m", tmp_path / "devices", "d", tmp_path / "disk", "k")
    text = tell_start(staged(tell=told.append), "build-vm", BaseStart(saved, "instance"))
    assert text.startswith("the build-vm goes on from one that was booted and saved 0 minutes ago (")
    memory.unlink()
    gone = sentence("build-vm", BaseStart(saved, "instance"))
    assert gone.startswith("the build-vm goes on from one that was booted and saved before (")
    tell_start(staged(tell=told.append), "build-vm", BaseStart(reason="why"))
    assert [one.start for one in told if isinstance(one, PartStarted)] == [Start.WARM, Start.COLD]
    assert {one.kind for one in told if isinstance(one, PartStarted)} == {PartKind.BOOT}
    assert [one.text for one in told if isinstance(one, Notice)][1] == "the build-vm is booted: why"
