"""A QEMU virtual machine, described: its argument list starts from nothing and adds; pure.

No default device, no display, no monitor but QMP, no host port; the system call filter is on; every disk names its
format and its whole backing chain, so QEMU never guesses a format and never follows a name found inside an image.
Its disks, its tap and its sockets come to it as open descriptors, each written `@NAME@` in the list; it opens no path
of ours.
Source: qemu(1), "Security" in QEMU's system emulation documentation.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from vmkiln.azure_names import Architecture
from vmkiln.host.devices.profile import DISCARD_BYTES, LEAN, DiskBus, Profile, controllers, slot

SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
KERNEL_INSIDE, INITRAMFS_INSIDE = "/kernel", "/initramfs"  # where a jailed QEMU sees them
MEMORY_INSIDE = "/memory"
NETWORK = "net"  # the name of its way out
DEVICE_STATE_BYTES = 16 * 1024**2  # measured: 0.5 MiB


class Accelerator(StrEnum):
    """What executes the guest's instructions."""

    KVM = "kvm"
    TCG = "tcg"


# What a guest would try out at boot, or use, slower emulated than done without (a sixth of the time to its ssh).
# erms and fsrm go together: Linux before 6.4 takes "fast short rep mov" without "enhanced rep mov" for leave to copy
# without looking at lengths, and overwrites itself; QEMU emulates fsrm since 8, and 7.2 already knows its name.
# Source: Linux, commit "x86/lib/memmove: Decouple ERMS from FSRM".
ARM64_CPU = "neoverse-n1"  # what Azure's first Arm64 sizes have; the richest one signs pointers, slowly
EMULATED_CPU = "max,svm=off,la57=off,aes=off,pclmulqdq=off,sha-ni=off,erms=off,fsrm=off"


@dataclass(frozen=True)
class Board:
    """What differs between architectures: QEMU's program, its machine, the CPU it emulates, the device of panics."""

    program: str
    machine: str
    emulated_cpu: str
    panic_device: str


BOARDS = {
    Architecture.X64: Board(
        "qemu-system-x86_64", "q35,vmport=off,smm=off,usb=off,i8042=off,graphics=off", EMULATED_CPU, "pvpanic"
    ),
    Architecture.ARM64: Board(
        "qemu-system-aarch64", "virt,gic-version=3,usb=off,graphics=off", ARM64_CPU, "pvpanic-pci"
    ),
}


def accelerator_for(architecture: Architecture, hosts: Accelerator) -> Accelerator:
    """What executes a guest of an architecture on an x64 host whose own guests `hosts` executes."""
    return hosts if architecture is Architecture.X64 else Accelerator.TCG


def cpu_model(accelerator: Accelerator, architecture: Architecture = Architecture.X64, profile: Profile = LEAN) -> str:
    """QEMU's `-cpu` for it: the host's own CPU, or the richest that is not slowed down by being emulated."""
    if accelerator is not Accelerator.KVM:
        return BOARDS[architecture].emulated_cpu
    return ",".join(["host", *([profile.cpu_options] if profile.cpu_options else [])])


def machine_option(
    accelerator: Accelerator, architecture: Architecture = Architecture.X64, profile: Profile = LEAN
) -> str:
    """QEMU's `-machine`: a board with nothing on it that no guest needs."""
    kind, _, options = (profile.board or BOARDS[architecture].machine).partition(",")
    return f"{kind},accel={accelerator},{options}"


TABLES_BYTES = 64 * 1024**2  # more than a qcow2 file has beside its clusters and what grows with them


@dataclass(frozen=True)
class Disk:
    """A disk: a file in a known format, with the backing chain we made ourselves.

    A guest finds it by its serial: /dev/disk/by-id/virtio-SERIAL; '' is `disk` with its number. `size_bytes` is what a
    guest sees, where it is known: of every disk that is made for a run. One that `is_disc` is a CD-ROM where the
    machine's profile has such.
    """

    path: Path
    format: str
    read_only: bool = False
    backing: "Disk | None" = None
    is_boot: bool = False
    serial: str = ""
    size_bytes: int = 0
    is_disc: bool = False


@dataclass(frozen=True)
class DirectKernel:
    """A kernel started without firmware boot: image, initial file system, command line."""

    image: Path
    initramfs: Path
    command_line: str


@dataclass(frozen=True)
class Firmware:
    """UEFI code (read-only) and the VM's own variables; BIOS when a machine has neither this nor a kernel."""

    code: Path
    variables: Path


@dataclass(frozen=True)
class Channel:
    """A named virtio-serial port whose host end is a unix socket we listen on.

    One that `is_serial_port` is the board's next serial port instead, behind the console's.
    """

    name: str
    socket: Path
    is_serial_port: bool = False


@dataclass(frozen=True)
class SavedVm:
    """What is left of a VM that stood still: its RAM as a file with holes, its devices' state, a digest of each.

    `disk` is the overlay that it had written, of one that had one. With a `memory_key`, as hexadecimal digits, the RAM
    is sealed and has no digest.
    """

    memory: Path
    memory_digest: str
    devices: Path
    devices_digest: str
    disk: Path | None = None
    disk_digest: str = ""
    memory_key: str = field(default="", repr=False)


@dataclass(frozen=True)
class MachineFile:
    """A file that a machine reads, or writes too, and the name of its descriptor."""

    name: str
    path: Path
    writable: bool


@dataclass(frozen=True)
class Machine:
    """One virtual machine. Memory in MiB. The sockets are listened on by us; QEMU connects.

    One without a tap has no network device. One that `is_saveable`, or goes on from what was `saved`, has its RAM in a
    file of its jail's own. One that is to be saved sees its network unplugged, unless it `boots_plugged_in`.
    """

    name: str
    accelerator: Accelerator
    cpus: int
    memory_mib: int
    disks: tuple[Disk, ...]
    tap: str
    mac: str
    console_socket: Path
    control_socket: Path
    boot: DirectKernel | Firmware | None = None
    channels: tuple[Channel, ...] = ()
    may_reboot: bool = True
    architecture: Architecture = Architecture.X64
    is_saveable: bool = False
    saved: SavedVm | None = None
    profile: Profile = LEAN
    boots_plugged_in: bool = False

    @property
    def has_memory_file(self) -> bool:
        """Whether its RAM is a file."""
        return self.is_saveable or self.saved is not None


def files(machine: Machine) -> tuple[MachineFile, ...]:
    """Every file of its disks and its firmware; the position of each is the number of its descriptor set."""
    found = []
    for index, disk in enumerate(machine.disks):
        layer: Disk | None = disk
        writable, depth = not disk.read_only, 0
        while layer is not None:
            found.append(MachineFile(f"disk{index}layer{depth}", layer.path, writable))
            layer, writable, depth = layer.backing, False, depth + 1
    if isinstance(machine.boot, Firmware):
        found.append(MachineFile("firmware", machine.boot.code, False))
        found.append(MachineFile("variables", machine.boot.variables, True))
    return tuple(found)


def most_file_bytes(machine: Machine) -> int:
    """How large a file may get that the machine writes: all of the disk, its tables, or its firmware's variables.

    0 for one that writes none. Source: docs/interop/qcow2.rst in QEMU: a cluster of 64 KiB has 10 bytes in tables.
    """
    writable = [disk.size_bytes for disk in machine.disks if not disk.read_only]
    if not writable and not isinstance(machine.boot, Firmware):
        return DEVICE_STATE_BYTES if machine.is_saveable else 0
    size = max(writable, default=0)
    return size + size // 4096 + TABLES_BYTES


def sockets(machine: Machine) -> dict[str, Path]:
    """The sockets that it connects to, by the names of their descriptors."""
    found = {"control": machine.control_socket, "console": machine.console_socket}
    return found | {f"channel{index}": channel.socket for index, channel in enumerate(machine.channels)}


def arguments(machine: Machine, *, program: str = "") -> list[str]:
    """The whole argument list. The machine stands still until told to go on, so that it can be looked at first.

    `program` is QEMU by its whole path, as a jail has it.
    """
    board = BOARDS[machine.architecture]
    return [
        program or board.program,
        "-name", machine.name,
        "-S",
        "-nodefaults",
        "-no-user-config",
        "-display", "none",
        "-sandbox", SANDBOX,
        "-machine", machine_option(machine.accelerator, machine.architecture, machine.profile),
        "-cpu", cpu_model(machine.accelerator, machine.architecture, machine.profile),
        "-smp", str(machine.cpus),
        "-m", f"{machine.memory_mib}M",
        "-rtc", "base=utc",
        "-boot", "strict=on",
        *(("-device", board.panic_device) if machine.profile.has_panic_device else ()),
        *(("-device", "virtio-rng-pci") if machine.profile.has_random_device else ()),
        *(("-device", "VGA") if machine.profile.has_screen else ()),
        "-chardev", "socket,id=control,fd=@control@,server=off",
        "-mon", "chardev=control,mode=control",
        "-chardev", "socket,id=console,fd=@console@,server=off",
        "-serial", "chardev:console",
        *(() if machine.may_reboot else ("-no-reboot",)),
        *_memory_file(machine),
        *_descriptor_sets(machine),
        *_boot(machine),
        *_disks(machine),
        *_network(machine),
        *_channels(machine),
    ]  # fmt: skip


def _memory_file(machine: Machine) -> list[str]:
    """RAM as a file, and the device that tells a guest's kernel that it goes on as another VM than it was."""
    if not machine.has_memory_file:
        return []
    backend = f"memory-backend-file,id=memory,size={machine.memory_mib}M,mem-path={MEMORY_INSIDE},share=on"
    return [
        "-object", backend,
        "-machine", "memory-backend=memory",
        "-device", "vmgenid,guid=auto",
        *(("-incoming", "defer") if machine.saved is not None else ()),
    ]  # fmt: skip


def _descriptor_sets(machine: Machine) -> list[str]:
    """Each file as a set of one descriptor, which a block node opens as /dev/fdset/N."""
    return [
        text
        for number, file in enumerate(files(machine))
        for text in ("-add-fd", f"fd=@{file.name}@,set={number},opaque={file.name}")
    ]


def _set_of(machine: Machine) -> Callable[[Path], str]:
    numbers = {file.path: number for number, file in enumerate(files(machine))}
    return lambda path: f"/dev/fdset/{numbers[path]}"


def _boot(machine: Machine) -> list[str]:
    match machine.boot:
        case DirectKernel(_, _, command_line):
            return ["-kernel", KERNEL_INSIDE, "-initrd", INITRAMFS_INSIDE, "-append", command_line]
        case Firmware(code, variables):
            name_of = _set_of(machine)
            code_node = {"driver": "raw", "node-name": "firmware", "read-only": True, "file": _file(name_of(code))}
            variables_node = {"driver": "raw", "node-name": "variables", "file": _file(name_of(variables))}
            return [
                "-blockdev", json.dumps(code_node),
                "-blockdev", json.dumps(variables_node),
                "-machine", "pflash0=firmware,pflash1=variables",
            ]  # fmt: skip
        case None:
            return []


def _network(machine: Machine) -> list[str]:
    if not machine.tap:
        return []
    device = f"{machine.profile.network_device},netdev={NETWORK},mac={machine.mac},romfile="
    return ["-netdev", f"tap,id={NETWORK},fd=@tap@", "-device", device]


def _disks(machine: Machine) -> list[str]:
    name_of, profile = _set_of(machine), machine.profile
    is_ide, plugged = profile.board.startswith("pc,"), 0
    found: list[str] = []
    for index, disk in enumerate(machine.disks):
        is_disc = disk.is_disc and profile.is_disc_a_disc
        device = "virtio-blk-pci"
        if is_disc or profile.disk_bus is not DiskBus.VIRTIO:
            kind = "ide-cd" if is_disc else f"ide-hd,discard_granularity={DISCARD_BYTES}"
            device = f"{kind},{slot(plugged, is_ide=is_ide).option}"
            plugged += 1
        found += block_arguments(index, disk, name_of=name_of, device=device)
    return [*(text for more in controllers(plugged, is_ide=is_ide) for text in ("-device", more)), *found]


def block_arguments(
    index: int, disk: Disk, *, name_of: Callable[[Path], str] = str, device: str = "virtio-blk-pci"
) -> list[str]:
    """One disk as a blockdev node and its device; `name_of` gives a file's name as QEMU is to open it."""
    boot = ",bootindex=0" if disk.is_boot else ""
    boot += "" if disk.read_only else ",werror=stop"  # the guest never goes on without what it has written
    node = {**block_node(disk, name_of=name_of), "node-name": f"disk{index}"}
    plugged = f"{device},drive=disk{index},serial={disk.serial or f'disk{index}'}{boot}"
    return ["-blockdev", json.dumps(node), "-device", plugged]


def block_node(disk: Disk, *, name_of: Callable[[Path], str] = str) -> dict[str, Any]:
    """The disk as a blockdev node: explicit driver at every level, nothing flushed (a crash throws the disk away)."""
    node: dict[str, Any] = {
        "driver": disk.format,
        "read-only": disk.read_only,
        "cache": {"no-flush": True},
        "discard": "unmap",
        "file": _file(name_of(disk.path)),
    }
    if disk.format == "qcow2":
        backing = None if disk.backing is None else replace(disk.backing, read_only=True)
        node["backing"] = None if backing is None else block_node(backing, name_of=name_of)
    return node


def _file(name: str) -> dict[str, Any]:
    return {"driver": "file", "filename": name, "cache": {"no-flush": True}, "discard": "unmap"}


def _channels(machine: Machine) -> list[str]:
    if not machine.channels:
        return []
    is_virtio = any(not channel.is_serial_port for channel in machine.channels)
    result = ["-device", "virtio-serial-pci"] if is_virtio else []
    for index, channel in enumerate(machine.channels):
        port = ("-device", f"virtserialport,chardev=channel{index},name={channel.name}")
        if channel.is_serial_port:
            port = ("-serial", f"chardev:channel{index}")
        result += ["-chardev", f"socket,id=channel{index},fd=@channel{index}@,server=off", *port]
    return result
