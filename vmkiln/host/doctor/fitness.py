"""Whether this machine can run builds, decided from facts: one finding for each thing a build needs; pure.

`examination.py` gathers the facts.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from vmkiln.host.confinement.subordinate_ids import IdFile, IdRange
from vmkiln.host.disk.container_kernel import ContainerKernel
from vmkiln.host.disk.firmware import FirmwareFiles
from vmkiln.host.doctor import packer_version
from vmkiln.host.doctor.required_programs import RequiredProgram
from vmkiln.host.doctor.restored_guest import Restored
from vmkiln.host.qemu import Accelerator

GIB = 1024**3
PYTHON_MINIMUM = (3, 11)
SUBORDINATE_IDS_MINIMUM = 65536  # mmdebstrap(1), "unshare" mode
DISK_MINIMUM_BYTES, DISK_COMFORT_BYTES = 4 * GIB, 15 * GIB
MEMORY_MINIMUM_BYTES, MEMORY_COMFORT_BYTES = 2 * GIB, 5 * GIB
BOOTSTRAP = "run `script/bootstrap`"
RESTORED = "restored guest"
BOOT_INSTEAD = (
    "where a restored VM does not run, builds lose up to three minutes, then boot it and keep nothing: set "
    "`warm_starts` to false, and they boot at once; another release of QEMU or of the host's kernel may cure it"
)
PACKER_SOURCE = (
    f"{BOOTSTRAP}, which fetches it where the distribution has no package `packer` (`--packer PATH` gives it yours)"
)


class Status(StrEnum):
    """How a thing a build needs was found."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True)
class Finding:
    """One thing a build needs: how it was found, what was found, and what to do when it is not as it should be."""

    name: str
    status: Status
    found: str
    remedy: str | None = None


def can_build(findings: Iterable[Finding]) -> bool:
    """Whether builds can run: nothing failed."""
    return all(finding.status is not Status.FAILED for finding in findings)


def landlock_finding(version: int) -> Finding:
    """Landlock, one more wall round each program; `version` is the kernel's interface, 0 without it."""
    if version:
        return Finding("Landlock", Status.OK, f"interface {version}")
    return Finding(
        "Landlock",
        Status.WARNING,
        "this kernel has none, or it is switched off",
        "add `landlock` to the kernel's parameter `lsm=` (Linux 5.13 or newer)",
    )


def restored_guest_finding(found: Restored, accelerator: Accelerator) -> Finding:
    """A guest that was saved and runs on in another VM: what builds begin from. Without that they boot, and can."""
    if found.runs:
        text = f"a guest was saved, and went on under {accelerator} in {found.seconds:.1f} s"
        return Finding(RESTORED, Status.OK, text)
    return Finding(RESTORED, Status.WARNING, f"not under {accelerator}: {found.reason}", BOOT_INSTEAD)


def control_group_finding(*, is_delegated: bool) -> Finding:
    """A control group that can be divided between runs."""
    if is_delegated:
        return Finding("control group", Status.OK, "one is delegated: each run gets its own")
    return Finding(
        "control group",
        Status.WARNING,
        "none is delegated: a run's processes are held one by one, not together",
        "use a unit of packaging/systemd for the service, `systemd-run --user --scope -p Delegate=yes` for a command",
    )


def version_in(text: str) -> str | None:
    """The first version number on the first line of what a program printed: `1.2`, `1.2.3` or a date (passt)."""
    match = re.search(r"\d{4}_\d{2}_\d{2}[.\w]*|\d+(?:\.\d+)+", text.strip().partition("\n")[0])
    return None if match is None else match.group(0)


def program_finding(program: RequiredProgram, *, path: str | None, printed: str) -> Finding:
    """A program with its place and version; `printed` is what it said when asked for its version."""
    name = program.names[0]
    if path is None:
        remedy = PACKER_SOURCE if name == "packer" else f"{BOOTSTRAP} (package {program.package})"
        return Finding(name, Status.FAILED, f"not installed; {program.purpose}", remedy)
    version = version_in(printed)
    found = f"{path} {version}" if version else path
    if name == "packer":
        return _packer_finding(path, packer_version.parse_version(printed))
    return Finding(name, Status.OK, found)


def _packer_finding(path: str, version: packer_version.Version | None) -> Finding:
    if version is None:
        found = f"{path} is not HashiCorp's Packer, for it does not tell its version"
        return Finding("packer", Status.FAILED, found, f"remove it, then {PACKER_SOURCE}")
    found = f"{path} {packer_version.shown(version)}"
    if obstacle := packer_version.obstacle(version):
        return Finding("packer", Status.FAILED, f"{found} {obstacle}", f"remove it, then {PACKER_SOURCE}")
    return Finding("packer", Status.OK, f"{found} ({packer_version.licence(version)})")


def python_finding(version: tuple[int, ...]) -> Finding:
    """The interpreter we run on."""
    found = ".".join(map(str, version[:3]))
    if version[:2] < PYTHON_MINIMUM:
        return Finding("python", Status.FAILED, found, "install Python 3.11 or newer, then run `script/bootstrap`")
    return Finding("python", Status.OK, found)


def user_finding(user_id: int, user: str) -> Finding:
    """Builds need no root, so they should not have it."""
    if user_id == 0:
        return Finding("user", Status.FAILED, "root", "builds need no privilege: run them as an ordinary user")
    return Finding("user", Status.OK, f"{user} (uid {user_id})")


def subordinate_ids_finding(file: IdFile, found: IdRange | None, *, user: str) -> Finding:
    """The user's range in the file; None when there is none."""
    kind = file.value
    remedy = f"{BOOTSTRAP}, or as root: `usermod --add-{kind}s 100000-165535 {user}` with a free range"
    if found is None:
        return Finding(kind, Status.FAILED, f"no range for {user} in /etc/{kind}", remedy)
    described = f"{found.count} ids from {found.first}"
    if found.count < SUBORDINATE_IDS_MINIMUM:
        return Finding(kind, Status.FAILED, f"{described}, fewer than {SUBORDINATE_IDS_MINIMUM}", remedy)
    return Finding(kind, Status.OK, described)


def id_map_finding(name: str, *, path: str, is_privileged: bool) -> Finding:
    """newuidmap and newgidmap work only with the set-user-id bit or the file capability they are installed with."""
    if is_privileged:
        return Finding(f"{name} privilege", Status.OK, f"{path} may map ids")
    return Finding(
        f"{name} privilege",
        Status.FAILED,
        f"{path} has neither the set-user-id bit nor a file capability",
        "reinstall the package: `apt-get install --reinstall uidmap`",
    )


def busybox_finding(path: str, head: bytes) -> Finding:
    """busybox must run where there is no library; `head` is its first 4 KiB."""
    if b"ld-linux" in head or b"ld-musl" in head:
        remedy = "install the package `busybox-static` in place of `busybox`"
        return Finding("busybox is static", Status.FAILED, f"{path} needs shared libraries", remedy)
    return Finding("busybox is static", Status.OK, path)


def disk_finding(free_bytes: int, directory: Path) -> Finding:
    """Free space where state lives, in bytes."""
    found = f"{free_bytes / GIB:.1f} GiB free in {directory}"
    remedy = f"free some space, or set VMKILN_HOME to a folder on a larger disk ({DISK_COMFORT_BYTES // GIB} GiB)"
    return _against(free_bytes, DISK_MINIMUM_BYTES, DISK_COMFORT_BYTES, name="disk", found=found, remedy=remedy)


def memory_finding(available_bytes: int) -> Finding:
    """Memory that programs can still take, in bytes (MemAvailable, proc(5))."""
    found = f"{available_bytes / GIB:.1f} GiB available"
    remedy = f"end other programs: a build VM and its container take up to {MEMORY_COMFORT_BYTES // GIB} GiB"
    return _against(
        available_bytes, MEMORY_MINIMUM_BYTES, MEMORY_COMFORT_BYTES, name="memory", found=found, remedy=remedy
    )


def _against(amount: int, minimum: int, comfort: int, *, name: str, found: str, remedy: str) -> Finding:
    if amount < minimum:
        return Finding(name, Status.FAILED, found, remedy)
    return Finding(name, Status.WARNING, found, remedy) if amount < comfort else Finding(name, Status.OK, found)


def firmware_finding(files: FirmwareFiles | None) -> Finding:
    """UEFI firmware, for generation 2 images."""
    if files is None:
        return Finding("firmware", Status.FAILED, "no UEFI firmware for VMs", f"{BOOTSTRAP} (package ovmf)")
    return Finding("firmware", Status.OK, str(files.code))


def arm64_finding(missing: Sequence[str]) -> Finding:
    """What guests and images of Arm64 take; `missing` are packages. Without it everything else works."""
    if missing:
        # most machines build no such image, so this is no fault of theirs
        return Finding("Arm64 guests", Status.OK, f"none: images for Arm64 take the packages {', '.join(missing)}")
    return Finding("Arm64 guests", Status.OK, "emulated (about ten times slower than x64 with KVM)")


def kernel_finding(kernel: ContainerKernel | None, *, reason: str = "") -> Finding:
    """The container's kernel, taken from its package without being installed."""
    if kernel is None:
        return Finding("container kernel", Status.FAILED, reason, "check that `apt-get update` works on this host")
    return Finding("container kernel", Status.OK, f"{kernel.package} {kernel.version}")


def namespaces_remedy(sysctls: dict[str, str]) -> str:
    """What forbids namespaces to ordinary users here, from the kernel settings that can; values as in /proc/sys."""
    if sysctls.get("kernel/apparmor_restrict_unprivileged_userns") == "1":
        return "AppArmor restricts user namespaces: `script/bootstrap --allow-userns` explains and lifts it"
    if sysctls.get("kernel/unprivileged_userns_clone") == "0":
        return "as root: `sysctl -w kernel.unprivileged_userns_clone=1`"
    if sysctls.get("user/max_user_namespaces") == "0":
        return "as root: `sysctl -w user.max_user_namespaces=10000`"
    return "inside a container or chroot: make it so that user namespaces are allowed (seccomp and AppArmor profiles)"
