"""A QEMU virtual machine, described: its argument list starts from nothing and adds; pure.

No default device, no display, no monitor but QMP, no host port; the system call filter is on; every disk names its
format and its whole backing chain, so QEMU never guesses a format and never follows a name found inside an image.
Source: qemu(1), "Security" in QEMU's system emulation documentation.
"""

import json
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
# id 0 inside the namespace keeps no capability, gets none back, and cannot gain any through a program it starts
UNPRIVILEGED = ("setpriv", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all", "--")


class Accelerator(StrEnum):
    """What executes the guest's instructions."""

    KVM = "kvm"
    TCG = "tcg"


# What a guest would try out at boot, or use, slower emulated than done without (a sixth of the time to its ssh).
# erms and fsrm go together: Linux before 6.4 takes "fast short rep mov" without "enhanced rep mov" for leave to copy
# without looking at lengths, and overwrites itself; QEMU emulates fsrm since 8, and 7.2 already knows its name.
# Source: Linux, commit "x86/lib/memmove: Decouple ERMS from FSRM".
EMULATED_CPU = "max,svm=off,la57=off,aes=off,pclmulqdq=off,sha-ni=off,erms=off,fsrm=off"


def cpu_model(accelerator: Accelerator) -> str:
    """QEMU's `-cpu` for it: the host's own CPU, or the richest that is not slowed down by being emulated."""
    return "host" if accelerator is Accelerator.KVM else EMULATED_CPU


@dataclass(frozen=True)
class Disk:
    """A disk: a file in a known format, with the backing chain we made ourselves."""

    path: Path
    format: str
    read_only: bool = False
    backing: "Disk | None" = None
    is_boot: bool = False


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
    """A named virtio-serial port whose host end is a unix socket we listen on."""

    name: str
    socket: Path


@dataclass(frozen=True)
class Machine:
    """One virtual machine. Memory in MiB. The sockets are listened on by us; QEMU connects."""

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
    program: str = "qemu-system-x86_64"


def arguments(machine: Machine) -> list[str]:
    """The whole argument list, from the privilege drop on."""
    return [
        *UNPRIVILEGED,
        machine.program,
        "-name", machine.name,
        "-nodefaults",
        "-no-user-config",
        "-display", "none",
        "-sandbox", SANDBOX,
        "-machine", f"q35,accel={machine.accelerator},vmport=off,smm=off,usb=off,i8042=off,graphics=off",
        "-cpu", cpu_model(machine.accelerator),
        "-smp", str(machine.cpus),
        "-m", f"{machine.memory_mib}M",
        "-rtc", "base=utc",
        "-boot", "strict=on",
        "-device", "pvpanic",
        "-device", "virtio-rng-pci",
        "-qmp", f"unix:{machine.control_socket},server=off",
        "-chardev", f"socket,id=console,path={machine.console_socket},server=off",
        "-serial", "chardev:console",
        *(() if machine.may_reboot else ("-no-reboot",)),
        *_boot(machine),
        *_disks(machine),
        "-netdev", f"tap,id=net,ifname={machine.tap},script=no,downscript=no",
        "-device", f"virtio-net-pci,netdev=net,mac={machine.mac},romfile=",
        *_channels(machine),
    ]  # fmt: skip


def _boot(machine: Machine) -> list[str]:
    match machine.boot:
        case DirectKernel(image, initramfs, command_line):
            return ["-kernel", str(image), "-initrd", str(initramfs), "-append", command_line]
        case Firmware(code, variables):
            code_node = {"driver": "raw", "node-name": "firmware", "read-only": True, "file": _file(code)}
            variables_node = {"driver": "raw", "node-name": "variables", "file": _file(variables)}
            return [
                "-blockdev", json.dumps(code_node),
                "-blockdev", json.dumps(variables_node),
                "-machine", "pflash0=firmware,pflash1=variables",
            ]  # fmt: skip
        case None:
            return []


def _disks(machine: Machine) -> list[str]:
    return [text for index, disk in enumerate(machine.disks) for text in block_arguments(index, disk)]


def block_arguments(index: int, disk: Disk) -> list[str]:
    """One disk as a blockdev node and its virtio device."""
    boot = ",bootindex=0" if disk.is_boot else ""
    node = {**block_node(disk), "node-name": f"disk{index}"}
    return ["-blockdev", json.dumps(node), "-device", f"virtio-blk-pci,drive=disk{index},serial=disk{index}{boot}"]


def block_node(disk: Disk) -> dict[str, Any]:
    """The disk as a blockdev node: explicit driver at every level, nothing flushed (a crash throws the disk away)."""
    node: dict[str, Any] = {
        "driver": disk.format,
        "read-only": disk.read_only,
        "cache": {"no-flush": True},
        "discard": "unmap",
        "file": _file(disk.path),
    }
    if disk.format == "qcow2":
        node["backing"] = None if disk.backing is None else block_node(replace(disk.backing, read_only=True))
    return node


def _file(path: Path) -> dict[str, Any]:
    return {"driver": "file", "filename": str(path), "cache": {"no-flush": True}, "discard": "unmap"}


def _channels(machine: Machine) -> list[str]:
    if not machine.channels:
        return []
    result = ["-device", "virtio-serial-pci"]
    for index, channel in enumerate(machine.channels):
        result += [
            "-chardev", f"socket,id=channel{index},path={channel.socket},server=off",
            "-device", f"virtserialport,chardev=channel{index},name={channel.name}",
        ]  # fmt: skip
    return result
