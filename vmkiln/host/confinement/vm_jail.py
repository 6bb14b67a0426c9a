"""The jail of a virtual machine, described: which files QEMU sees, what it gets open, and its limits; pure."""

from collections.abc import Mapping

from vmkiln.host import qemu
from vmkiln.host.confinement.confinement import Confinement
from vmkiln.host.confinement.descriptors import Descriptor, Kind
from vmkiln.host.confinement.jail import Jail, JailMemory
from vmkiln.host.confinement.program_files import ProgramFiles
from vmkiln.host.qemu import Accelerator, DirectKernel, Machine

MIB = 1024**2
DEVICES = ("/dev/null", "/dev/urandom")
KVM = "/dev/kvm"
ADDRESS_SPACE_BESIDE_MEMORY = 8 * 1024 * MIB  # translated code, libraries, stacks of threads; none of it is touched
MOST_THREADS = 256  # QEMU does disk requests in up to 64 threads for each disk's node
MOST_OPEN_FILES = 256
ENVIRONMENT: Mapping[str, str] = {"PATH": "/usr/bin"}


def _descriptors(machine: Machine) -> tuple[Descriptor, ...]:
    """Every disk, the firmware, the tap where there is one, and the sockets."""
    found = [
        Descriptor(file.name, Kind.WRITE if file.writable else Kind.READ, str(file.path))
        for file in qemu.files(machine)
    ]
    if machine.tap:
        found.append(Descriptor("tap", Kind.TAP, machine.tap))
    found += [Descriptor(name, Kind.CONNECT, str(path)) for name, path in qemu.sockets(machine).items()]
    return tuple(found)


def _jail(machine: Machine, files: ProgramFiles, *, own_id: int) -> Jail:
    """The jail of a machine that runs as an id of its own."""
    copies = {}
    if isinstance(machine.boot, DirectKernel):
        copies = {
            qemu.KERNEL_INSIDE: str(machine.boot.image),
            qemu.INITRAMFS_INSIDE: str(machine.boot.initramfs),
        }
    return Jail(
        id=own_id,
        files=files.files,
        devices=(*DEVICES, KVM) if machine.accelerator is Accelerator.KVM else DEVICES,
        copies=copies,
        limits={
            "RLIMIT_AS": machine.memory_mib * MIB + ADDRESS_SPACE_BESIDE_MEMORY,
            "RLIMIT_NPROC": MOST_THREADS,
            "RLIMIT_NOFILE": MOST_OPEN_FILES,
            "RLIMIT_CORE": 0,
            "RLIMIT_MEMLOCK": 0,
            "RLIMIT_FSIZE": qemu.most_file_bytes(machine),
        },
        memory=_memory(machine) if machine.has_memory_file else None,
    )


def _memory(machine: Machine) -> JailMemory:
    size = machine.memory_mib * MIB
    if machine.saved is None:
        return JailMemory(qemu.MEMORY_INSIDE, size)
    saved = machine.saved
    return JailMemory(qemu.MEMORY_INSIDE, size, str(saved.memory), saved.memory_digest, saved.memory_key)


def confinement_of(machine: Machine, files: ProgramFiles, *, own_id: int) -> Confinement:
    """All that holds a machine which runs as an id of its own."""
    return Confinement(_jail(machine, files, own_id=own_id), _descriptors(machine), ENVIRONMENT)
