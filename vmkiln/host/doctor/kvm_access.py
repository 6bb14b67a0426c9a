"""Who may open /dev/kvm, and what to do when this user may not: decided from the group that the device really has."""

import grp
import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path

from vmkiln.host.accelerator import KVM


@dataclass(frozen=True)
class KvmAccess:
    """The device as this user finds it; `group` is none when its number has no name.

    `is_member` is by /etc/group, `is_in_session` by this process, which keeps the groups of its login.
    """

    device: Path
    user: str
    exists: bool = True
    may_open: bool = False
    owner: str = "root"
    group: str | None = None
    mode: int = 0
    is_member: bool = False
    is_in_session: bool = False


def kvm_access(device: Path = KVM) -> KvmAccess:
    """What there is; reads, and opens nothing."""
    user_id = os.getuid()
    user = _name_of_user(user_id)
    try:
        status = device.stat()
    except OSError:
        return KvmAccess(device, user, exists=False)
    try:
        group = grp.getgrgid(status.st_gid).gr_name
    except KeyError:
        group = None
    try:
        member_of = os.getgrouplist(user, pwd.getpwuid(user_id).pw_gid)
    except KeyError:
        member_of = []
    return KvmAccess(
        device,
        user,
        may_open=os.access(device, os.R_OK | os.W_OK),
        owner=_name_of_user(status.st_uid),
        group=group,
        mode=stat.S_IMODE(status.st_mode),
        is_member=status.st_gid in member_of,
        is_in_session=status.st_gid in {os.getegid(), *os.getgroups()},
    )


def _name_of_user(user_id: int) -> str:
    try:
        return pwd.getpwuid(user_id).pw_name
    except KeyError:
        return str(user_id)


def cure(access: KvmAccess) -> str:
    """What to do so that builds are not emulated any more; pure."""
    if not access.exists:
        return "enable virtualization in the firmware, or nested virtualization of this virtual machine"
    if access.may_open:
        return "use a host whose KVM boots guests: a physical machine, or one with nested virtualization"
    device, group = access.device, access.group
    if access.mode & 0o060 != 0o060 or group in {None, "root"}:
        found = f"{device} is {access.owner}:{group or 'a group without a name'} with mode {access.mode:o}"
        return f"{found}: as root `chgrp kvm {device} && chmod 0660 {device}`, then `script/bootstrap`"
    if not access.is_member:
        return f"run `script/bootstrap`, or as root `usermod --append --groups {group} {access.user}`; then log in anew"
    if not access.is_in_session:
        return f"log in anew: {access.user} is in the group {group}, but was not when this session began"
    return f"{access.user} is in the group {group}; something else keeps {device}, such as a container's device rules"


def notice(access: KvmAccess, reason: str) -> str:
    """What a build that is emulated says first where the device is there; nothing where it is not; pure."""
    if not access.exists:
        return ""
    return f"this build is emulated, though {access.device} is there ({reason}); {cure(access)}"
