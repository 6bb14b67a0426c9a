"""QEMU's argument list: nothing by default, every format named, no path of ours."""

import json
from pathlib import Path

import pytest

from vmkiln.azure_names import Architecture
from vmkiln.host.qemu import (
    ARM64_CPU,
    EMULATED_CPU,
    Accelerator,
    Channel,
    DirectKernel,
    Disk,
    Firmware,
    Machine,
    SavedVm,
    accelerator_for,
    arguments,
    block_node,
    cpu_model,
    files,
    most_file_bytes,
    sockets,
)

BASE = Disk(Path("/cache/base.qcow2"), "qcow2")
OVERLAY = Disk(Path("/run/overlay.qcow2"), "qcow2", backing=BASE, is_boot=True)


def a_machine(**changes: object) -> Machine:
    values: dict[str, object] = {
        "name": "build-vm",
        "accelerator": Accelerator.TCG,
        "cpus": 1,
        "memory_mib": 3584,
        "disks": (OVERLAY, Disk(Path("/run/seed.iso"), "raw", read_only=True)),
        "tap": "tap-build",
        "mac": "02:00:0a:00:01:04",
        "console_socket": Path("/run/vmkiln/console"),
        "control_socket": Path("/run/vmkiln/qmp"),
    }
    return Machine(**{**values, **changes})  # type: ignore[arg-type]


def option(name: str, machine: Machine) -> list[str]:
    texts = arguments(machine)
    return [texts[index + 1] for index, text in enumerate(texts) if text == name]


def test_no_path_of_ours_is_in_the_argument_list() -> None:
    boots = (
        DirectKernel(Path("/ours/k"), Path("/ours/i"), "quiet"),
        Firmware(Path("/ours/code.fd"), Path("/ours/variables.fd")),
    )
    for boot in boots:
        text = " ".join(arguments(a_machine(boot=boot, channels=(Channel("log", Path("/run/vmkiln/log")),))))
        assert not any(path in text for path in ("/ours", "/cache", "/run/"))


def test_the_guest_stands_still_until_it_is_told_to_go_on() -> None:
    assert "-S" in arguments(a_machine())


def test_each_file_is_opened_once_and_only_its_own_disk_for_writing() -> None:
    found = files(a_machine(boot=Firmware(Path("/code.fd"), Path("/run/variables.fd"))))
    assert [(file.name, str(file.path), file.writable) for file in found] == [
        ("disk0layer0", "/run/overlay.qcow2", True),
        ("disk0layer1", "/cache/base.qcow2", False),
        ("disk1layer0", "/run/seed.iso", False),
        ("firmware", "/code.fd", False),
        ("variables", "/run/variables.fd", True),
    ]
    node = json.loads(option("-blockdev", a_machine())[0])
    assert node["file"]["filename"] == "/dev/fdset/0"
    assert node["backing"]["file"]["filename"] == "/dev/fdset/1"


def test_the_machine_starts_from_nothing() -> None:
    texts = arguments(a_machine())
    assert "-nodefaults" in texts
    assert "-no-user-config" in texts
    assert option("-display", a_machine()) == ["none"]
    assert option("-sandbox", a_machine()) == [
        "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
    ]


def test_no_host_port_is_ever_opened() -> None:
    text = " ".join(arguments(a_machine()))
    assert "hostfwd" not in text
    assert "-netdev user" not in text
    assert "vnc" not in text
    assert "server=on" not in text


def test_every_level_of_the_disk_chain_names_its_format() -> None:
    node = block_node(OVERLAY)
    assert node["driver"] == "qcow2"
    assert node["backing"]["driver"] == "qcow2"
    assert node["backing"]["backing"] is None
    assert node["backing"]["read-only"] is True
    assert node["file"]["driver"] == "file"


def test_only_the_boot_disk_has_a_boot_index() -> None:
    devices = [text for text in option("-device", a_machine()) if text.startswith("virtio-blk")]
    assert [("bootindex" in text) for text in devices] == [True, False]


def test_a_direct_kernel_is_given_with_its_command_line() -> None:
    machine = a_machine(boot=DirectKernel(Path("/k"), Path("/i"), "quiet a=b"))
    assert option("-kernel", machine) == ["/kernel"]
    assert option("-append", machine) == ["quiet a=b"]


def test_uefi_variables_are_the_machines_own() -> None:
    machine = a_machine(boot=Firmware(Path("/code.fd"), Path("/run/variables.fd")))
    nodes = [json.loads(text) for text in option("-blockdev", machine)]
    by_name = {node["node-name"]: node for node in nodes}
    assert by_name["firmware"]["read-only"] is True
    assert "read-only" not in by_name["variables"]


def test_channels_connect_to_sockets_we_listen_on() -> None:
    machine = a_machine(channels=(Channel("log", Path("/run/vmkiln/log")),))
    assert "socket,id=channel0,fd=@channel0@,server=off" in option("-chardev", machine)
    assert sockets(machine)["channel0"] == Path("/run/vmkiln/log")


def test_kvm_uses_the_hosts_processor() -> None:
    assert option("-cpu", a_machine(accelerator=Accelerator.KVM)) == ["host"]


def test_erms_and_fsrm_are_never_parted() -> None:
    switches = EMULATED_CPU.split(",")
    assert ("erms=off" in switches) == ("fsrm=off" in switches), "Linux before 6.4 hangs with fsrm but no erms"
    assert [switch for switch in switches if switch.startswith(("erms", "fsrm"))] == ["erms=off", "fsrm=off"]


def test_an_arm64_machine_has_its_own_program_board_and_cpu() -> None:
    firmware = Firmware(Path("/usr/share/AAVMF/AAVMF_CODE.fd"), Path("/run/variables.fd"))
    machine = a_machine(architecture=Architecture.ARM64, boot=firmware)
    texts = arguments(machine)
    assert texts[0] == "qemu-system-aarch64"
    assert option("-machine", machine) == [
        "virt,accel=tcg,gic-version=3,usb=off,graphics=off",
        "pflash0=firmware,pflash1=variables",
    ]
    assert option("-cpu", machine) == [ARM64_CPU]
    devices = option("-device", machine)
    assert "pvpanic-pci" in devices
    assert {device.partition(",")[0] for device in devices} == {
        "pvpanic-pci", "virtio-rng-pci", "virtio-blk-pci", "virtio-net-pci",
    }  # fmt: skip
    for pc_only in ("i8042", "smm", "vmport", "q35"):
        assert not any(pc_only in text for text in texts)
    x64 = arguments(a_machine(boot=firmware))
    same = {"-nodefaults", "-no-user-config", "-sandbox", "-netdev", "-mon", "-serial", "-rtc", "-boot", "-blockdev"}
    assert same <= set(texts)
    assert same <= set(x64)


@pytest.mark.parametrize("hosts", list(Accelerator))
def test_arm64_is_always_emulated_and_x64_as_the_host_can(hosts: Accelerator) -> None:
    assert accelerator_for(Architecture.ARM64, hosts) is Accelerator.TCG
    assert accelerator_for(Architecture.X64, hosts) is hosts
    assert cpu_model(Accelerator.TCG, Architecture.ARM64) == ARM64_CPU


SAVED = SavedVm(Path("/cache/memory"), "m", Path("/cache/devices"), "d")


def test_a_machine_that_is_booted_has_nothing_of_one_that_is_saved() -> None:
    text = " ".join(arguments(a_machine()))
    assert not any(word in text for word in ("memory-backend", "-incoming", "vmgenid", "mem-path"))


def test_what_goes_on_is_the_machine_that_was_saved_but_for_its_state() -> None:
    goes_on, was = arguments(a_machine(saved=SAVED)), arguments(a_machine(is_saveable=True))
    place = goes_on.index("-incoming")
    assert [*goes_on[:place], *goes_on[place + 2 :]] == was
    assert goes_on[place + 1] == "defer"
    assert "vmgenid,guid=auto" in was
    assert not any("/cache/" in text for text in goes_on)


def test_a_machine_without_a_disk_of_its_own_may_write_its_state_and_no_more() -> None:
    reads = (Disk(Path("/a"), "raw", read_only=True),)
    assert most_file_bytes(a_machine(disks=reads)) == 0
    assert most_file_bytes(a_machine(disks=reads, saved=SAVED)) == 0
    assert most_file_bytes(a_machine(disks=reads, is_saveable=True)) == 16 * 1024**2
