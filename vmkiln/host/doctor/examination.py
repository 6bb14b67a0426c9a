"""The facts about this machine that `fitness.py` judges, gathered by trying what a build does.

Namespaces, links, firewall and the way out are made in a throw-away namespace exactly as a build makes them, and the
accelerator boots a guest, which is saved and restored. Nothing is left behind but the container's kernel and the
accelerator's verdict, both kept for builds.
"""

import asyncio
import getpass
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

from vmkiln.azure_names import Architecture
from vmkiln.errors import VmkilnError
from vmkiln.host import capacity, command, foreign_cpu, namespace
from vmkiln.host.accelerator import EMULATED_PROBE_SECONDS, Verdict, boots, choose_accelerator
from vmkiln.host.confinement import kernel_calls, run_group
from vmkiln.host.confinement.subordinate_ids import IdFile, own_range
from vmkiln.host.disk.container_kernel import ContainerKernel, obtain_kernel
from vmkiln.host.disk.firmware import PACKAGES as FIRMWARE_PACKAGES
from vmkiln.host.disk.firmware import find_firmware
from vmkiln.host.doctor import fitness
from vmkiln.host.doctor.fitness import BOOTSTRAP, Finding, Status
from vmkiln.host.doctor.image_kernel import ImageKernel, image_kernel_boots
from vmkiln.host.doctor.kvm_access import cure, kvm_access
from vmkiln.host.doctor.required_programs import REQUIRED_PROGRAMS, RequiredProgram
from vmkiln.host.doctor.restored_guest import restored_guest_runs
from vmkiln.host.environment import ordinary
from vmkiln.host.namespace import Namespace
from vmkiln.host.network import host_watch, network_setup
from vmkiln.host.network.network_namespace import Egress, Network, Segment, forbidden_networks
from vmkiln.host.qemu import BOARDS, Accelerator

NETWORK_SECONDS = 60.0
TUN = Path("/dev/net/tun")
OTHER_KERNEL = "builds from this image would wait for their VM in vain: use another image, QEMU, or a host with KVM"
NO_IMAGE_KERNEL = Finding(
    "kernels of images",
    Status.WARNING,
    "no image that was made on this machine is here, so no image's kernel was booted",
    "`vmkiln prepare TEMPLATE` makes one and boots its kernel",
)
SYSCTLS = (
    "kernel/apparmor_restrict_unprivileged_userns",
    "kernel/unprivileged_userns_clone",
    "user/max_user_namespaces",
)


@dataclass(frozen=True)
class Examination:
    """All findings in reading order, and the accelerator that builds would use (none when it could not be tried)."""

    findings: tuple[Finding, ...]
    accelerator: Verdict | None

    @property
    def can_build(self) -> bool:
        """Whether builds can run on this machine."""
        return fitness.can_build(self.findings)


async def examine(
    *,
    state: Path,
    kernel_directory: Path,
    accelerator_directory: Path,
    image_kernels: Sequence[ImageKernel] = (),
    progress: Callable[[str], None],
) -> Examination:
    """Examine this machine; takes a few seconds, and a download of some 30 MB the first time.

    `state` is where images and runs would lie; `image_kernels` are those of the images that are here.
    Raises nothing of its own: what fails is a finding.
    """
    progress("looking for programs")
    findings = [
        fitness.user_finding(os.getuid(), getpass.getuser()),
        fitness.python_finding(sys.version_info[:3]),
        *await asyncio.gather(*(_program(program) for program in REQUIRED_PROGRAMS)),
        *await asyncio.to_thread(_files_and_amounts, state),
    ]
    progress("trying namespaces, links, firewall and the way out")
    walls = await _isolation()
    findings += walls
    kernel, finding = await _kernel(kernel_directory, progress)
    findings.append(finding)
    verdict: Verdict | None = None
    if kernel is not None:
        progress("booting a guest to judge the accelerator")
        verdict, finding = await _accelerator(kernel, accelerator_directory)
        findings.append(finding)
    if verdict is not None and kernel is not None and fitness.can_build(walls):  # else mend those first
        progress("saving a guest and restoring it")
        findings.append(await _restored_guest(kernel, verdict.accelerator, accelerator_directory))
    if verdict is not None:
        for image_kernel in image_kernels:
            progress(f"booting the kernel of {image_kernel.image}")
            findings.append(await _image_kernel(image_kernel, verdict.accelerator))
        if not image_kernels:
            findings.append(NO_IMAGE_KERNEL)
    return Examination(tuple(findings), verdict)


async def _program(program: RequiredProgram) -> Finding:
    path = next((found for name in program.names if (found := shutil.which(name))), None)
    printed = ""
    if path is not None and program.version is not None:
        # Packer asks its maker for newer versions unless told not to
        environment = {**ordinary(os.environ), "LC_ALL": "C", "CHECKPOINT_DISABLE": "1"}
        try:
            completed = await command.run(
                [path, *program.version], timeout_seconds=program.limit_seconds, check=False, environment=environment
            )
            printed = (completed.stdout + b"\n" + completed.stderr).decode(errors="replace")
        except VmkilnError as error:
            return Finding(program.names[0], Status.FAILED, error.message, f"reinstall the package {program.package}")
    return fitness.program_finding(program, path=path, printed=printed)


def _files_and_amounts(state: Path) -> list[Finding]:
    user = getpass.getuser()
    findings = []
    for file_of_ids, name in ((IdFile.USERS, "newuidmap"), (IdFile.GROUPS, "newgidmap")):
        findings.append(fitness.subordinate_ids_finding(file_of_ids, own_range(file_of_ids), user=user))
        if path := shutil.which(name):
            findings.append(fitness.id_map_finding(name, path=path, is_privileged=_is_privileged(Path(path))))
    if busybox := shutil.which("busybox"):
        with Path(busybox).open("rb") as file:
            findings.append(fitness.busybox_finding(busybox, file.read(4096)))
    findings.append(fitness.firmware_finding(find_firmware()))
    findings.append(fitness.arm64_finding(_missing_for_arm64()))
    place = next(path for path in (state, *state.parents) if path.exists())
    findings.append(fitness.disk_finding(shutil.disk_usage(place).free, state))
    findings.append(fitness.memory_finding(capacity.available_memory_bytes()))
    findings.append(fitness.landlock_finding(kernel_calls.landlock_version()))
    findings.append(fitness.control_group_finding(is_delegated=run_group.is_delegated()))
    return findings


def _missing_for_arm64() -> list[str]:
    arm64 = Architecture.ARM64
    has_firmware = find_firmware(architecture=arm64) is not None
    there = {
        "qemu-system-arm": shutil.which(BOARDS[arm64].program) is not None,
        FIRMWARE_PACKAGES[arm64]: has_firmware,
        foreign_cpu.PACKAGE: any(shutil.which(name) for name in foreign_cpu.PROGRAMS[arm64]),
    }
    return [package for package, is_there in there.items() if not is_there]


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _is_privileged(path: Path) -> bool:
    """Whether the program runs with rights of its own: set-user-id, or a file capability (xattr(7))."""
    if path.stat().st_mode & 0o4000:
        return True
    try:
        return bool(os.getxattr(path, "security.capability"))
    except OSError:
        return False


async def _isolation() -> list[Finding]:
    findings: list[Finding] = []
    try:
        async with namespace.opened() as opened:
            await opened.run(["true"])
            findings.append(Finding("namespaces", Status.OK, "user, network, pid and mount namespaces open"))
            findings += [await _tap(opened), await _firewall(opened)]
        if all(finding.status is Status.OK for finding in findings):
            findings.append(await _way_out())
    except (VmkilnError, TimeoutError, OSError) as error:
        remedy = fitness.namespaces_remedy({name: _text(Path("/proc/sys") / name).strip() for name in SYSCTLS})
        findings.append(Finding("namespaces", Status.FAILED, _told(error), remedy))
    return findings


async def _tap(opened: Namespace) -> Finding:
    lines = ["link add name probe type bridge", "tuntap add dev probe0 mode tap user 0", "link set probe0 master probe"]
    try:
        await opened.run(["ip", "-batch", "-"], stdin="\n".join(lines).encode())
    except VmkilnError as error:
        remedy = f"{BOOTSTRAP}, or as root: `modprobe -a tun bridge; chmod 0666 {TUN}`"
        if not os.access(TUN, os.R_OK | os.W_OK):
            return Finding("tap", Status.FAILED, f"this user may not open {TUN}", remedy)
        return Finding("tap", Status.FAILED, _told(error), remedy)
    return Finding("tap", Status.OK, f"a tap on a bridge, through {TUN}")


async def _firewall(opened: Namespace) -> Finding:
    lines = ["table inet probe {", "chain forward {", "type filter hook forward priority 0; policy drop;"]
    rules = "\n".join([*lines, "ct state new drop", "}", "}", ""])
    try:
        await opened.run(["nft", "-f", "-"], stdin=rules.encode())
    except VmkilnError as error:
        remedy = "as root: `modprobe -a nf_tables nf_conntrack`"
        return Finding("firewall", Status.FAILED, _told(error), remedy)
    return Finding("firewall", Status.OK, "nftables works inside a namespace")


async def _way_out() -> Finding:
    near = Segment("near", "near0", IPv4Interface("10.0.0.1/24"), IPv4Address("10.0.0.4"), "02:00:00:00:00:01")
    far = Segment("far", "far0", IPv4Interface("10.0.1.1/24"), IPv4Address("10.0.1.4"), "02:00:00:00:00:02")
    dns = (IPv4Address("10.0.2.53"), IPv4Address("10.0.2.54"))
    egress = Egress(IPv4Interface("10.0.2.2/24"), IPv4Address("10.0.2.1"), *dns)
    try:
        async with asyncio.timeout(NETWORK_SECONDS):
            forbidden = forbidden_networks(await host_watch.host_addresses())
            described = Network(near, far, egress, service_port=22, forbidden=forbidden)
            async with namespace.opened() as opened, network_setup.joined(opened, described):
                return Finding("way out", Status.OK, "pasta gives a namespace its way out")
    except (VmkilnError, TimeoutError) as error:
        remedy = f"{BOOTSTRAP} (package passt); this host needs a default route of its own"
        return Finding("way out", Status.FAILED, _told(error), remedy)


async def _kernel(directory: Path, progress: Callable[[str], None]) -> tuple[ContainerKernel | None, Finding]:
    try:
        kernel = await obtain_kernel(directory, progress=progress)
    except VmkilnError as error:
        return None, fitness.kernel_finding(None, reason=error.message)
    return kernel, fitness.kernel_finding(kernel)


async def _accelerator(kernel: ContainerKernel, directory: Path) -> tuple[Verdict | None, Finding]:
    """KVM when its guest boots; otherwise emulation, which is then tried as well."""
    busybox = _busybox()
    try:
        verdict = await choose_accelerator(
            kernel=kernel.vmlinuz, kernel_digest=kernel.digest, busybox=busybox, directory=directory
        )
        if verdict.accelerator is Accelerator.KVM:
            return verdict, Finding("accelerator", Status.OK, f"kvm: {verdict.reason}")
        probe = await boots(
            Accelerator.TCG, kernel=kernel.vmlinuz, busybox=busybox, limit_seconds=EMULATED_PROBE_SECONDS
        )
    except VmkilnError as error:
        return None, Finding("accelerator", Status.FAILED, error.message, error.hint or BOOTSTRAP)
    remedy = cure(kvm_access())
    return verdict, emulation_finding(
        verdict, booted=probe.booted, seconds=probe.seconds, reason=probe.reason, remedy=remedy
    )


async def _restored_guest(kernel: ContainerKernel, accelerator: Accelerator, directory: Path) -> Finding:
    found = await restored_guest_runs(accelerator, kernel=kernel.vmlinuz, busybox=_busybox(), workplace=directory)
    return fitness.restored_guest_finding(found, accelerator)


async def _image_kernel(kernel: ImageKernel, accelerator: Accelerator) -> Finding:
    """A build waits for this kernel; here it is seen to hang before a build does."""
    name = f"kernel of {kernel.image}"
    try:
        probe = await image_kernel_boots(kernel, accelerator, busybox=_busybox())
    except (VmkilnError, OSError) as error:
        return Finding(name, Status.FAILED, _told(error), BOOTSTRAP)
    if probe.booted:
        return Finding(name, Status.OK, f"boots under {accelerator} in {probe.seconds:.1f} s")
    return Finding(name, Status.FAILED, f"does not boot under {accelerator}: {probe.reason}", OTHER_KERNEL)


def _busybox() -> Path:
    return Path(shutil.which("busybox") or "/bin/busybox")


def emulation_finding(verdict: Verdict, *, booted: bool, seconds: float, reason: str, remedy: str) -> Finding:
    """Emulation is slow but sound: a warning when it boots, a failure when it does not."""
    if not booted:
        return Finding("accelerator", Status.FAILED, f"no guest boots even emulated: {reason}", BOOTSTRAP)
    found = f"tcg: {verdict.reason}; builds are emulated (a guest booted in {seconds:.1f} s)"
    return Finding("accelerator", Status.WARNING, found, f"builds run, but slower; {remedy}")


def _told(error: BaseException) -> str:
    told = error.message if isinstance(error, VmkilnError) else f"{type(error).__name__} {error}"
    return " ".join(told.split())
