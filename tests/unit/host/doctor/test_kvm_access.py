"""Access to /dev/kvm: the advice is about the group that the device really has."""

from dataclasses import replace
from pathlib import Path

import pytest

from vmkiln.host.doctor.kvm_access import KvmAccess, cure, kvm_access, notice

CLOSED = KvmAccess(Path("/dev/kvm"), "ada", owner="root", group="virt", mode=0o660)


@pytest.mark.parametrize(
    ("access", "told"),
    [
        (replace(CLOSED, exists=False), "enable virtualization in the firmware"),
        (replace(CLOSED, may_open=True), "use a host whose KVM boots guests"),
        (CLOSED, "as root `usermod --append --groups virt ada`; then log in anew"),
        (replace(CLOSED, is_member=True), "log in anew: ada is in the group virt, but was not when this session began"),
        (replace(CLOSED, is_member=True, is_in_session=True), "something else keeps /dev/kvm"),
        (replace(CLOSED, group="root"), "/dev/kvm is root:root with mode 660: as root `chgrp kvm /dev/kvm"),
        (replace(CLOSED, group="kvm", mode=0o600), "/dev/kvm is root:kvm with mode 600: as root `chgrp kvm /dev/kvm"),
        (replace(CLOSED, group=None), "/dev/kvm is root:a group without a name with mode 660"),
    ],
)
def test_the_cure_is_one_that_helps(access: KvmAccess, told: str) -> None:
    assert told in cure(access)
    helps = access.group == "virt" and not access.is_member and access.exists and not access.may_open
    assert ("usermod" in cure(access)) == helps


def test_a_device_is_seen_as_it_is(tmp_path: Path) -> None:
    device = tmp_path / "kvm"
    assert not kvm_access(device).exists
    device.touch(mode=0o640)
    device.chmod(0o640)
    found = kvm_access(device)
    assert (found.exists, found.may_open, found.mode) == (True, True, 0o640)
    assert found.owner == found.user == device.owner()
    assert found.group == device.group()
    assert found.is_in_session


def test_an_emulated_build_says_so_with_the_cure_only_where_the_device_is() -> None:
    assert notice(CLOSED, "this user may not open it") == (
        "this build is emulated, though /dev/kvm is there (this user may not open it); "
        "run `script/bootstrap`, or as root `usermod --append --groups virt ada`; then log in anew"
    )
    assert notice(replace(CLOSED, exists=False), "/dev/kvm does not exist") == ""
