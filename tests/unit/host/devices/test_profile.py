"""The devices of a Windows VM are those it has drivers for, and Linux VMs have what they had."""

import re
from pathlib import Path

import pytest

from vmkiln.host.devices.profile import LEAN, Profile, controllers, picture_command, slot, windows
from vmkiln.host.qemu import Accelerator, Channel, Disk, Machine, arguments, sockets

OVERLAY = Disk(Path("/run/overlay.qcow2"), "qcow2", backing=Disk(Path("/base"), "qcow2"), is_boot=True)
DISC = Disk(Path("/run/answer.iso"), "raw", read_only=True, is_disc=True)
REPORT = Channel("report", Path("/run/report"), is_serial_port=True)


def machine(profile: Profile, *disks: Disk, accelerator: Accelerator = Accelerator.KVM) -> Machine:
    return Machine(
        name="build-vm", accelerator=accelerator, cpus=2, memory_mib=4096, disks=(OVERLAY, *disks), tap="tap",
        mac="02:00:00:00:00:04", console_socket=Path("/run/console"), control_socket=Path("/run/qmp"),
        channels=(REPORT,), profile=profile,
    )  # fmt: skip


def option(name: str, texts: list[str]) -> list[str]:
    return [texts[index + 1] for index, text in enumerate(texts) if text == name]


def test_a_linux_machine_has_the_devices_that_it_had() -> None:
    texts = arguments(machine(LEAN, DISC))
    assert option("-device", texts) == [
        "pvpanic",
        "virtio-rng-pci",
        "virtio-blk-pci,drive=disk0,serial=disk0,bootindex=0,werror=stop",
        "virtio-blk-pci,drive=disk1,serial=disk1",
        "virtio-net-pci,netdev=net,mac=02:00:00:00:00:04,romfile=",
    ]
    assert option("-machine", texts) == ["q35,accel=kvm,vmport=off,smm=off,usb=off,i8042=off,graphics=off"]
    assert option("-cpu", texts) == ["host"]


def test_a_windows_machine_has_devices_with_drivers_and_no_other() -> None:
    texts = arguments(machine(windows(starts_by_uefi=True), DISC))
    assert option("-device", texts) == [
        "VGA",
        "ide-hd,discard_granularity=512,bus=ide.0,drive=disk0,serial=disk0,bootindex=0,werror=stop",
        "ide-cd,bus=ide.1,drive=disk1,serial=disk1",
        "e1000e,netdev=net,mac=02:00:00:00:00:04,romfile=",
    ]
    assert option("-machine", texts) == ["q35,accel=kvm,vmport=off,smm=off,usb=off,i8042=off,hpet=off"]
    assert option("-cpu", texts)[0].startswith("host,hv-relaxed,hv-vapic,")
    assert option("-rtc", texts) == ["base=utc"]
    assert not re.search(r"tpm|virtio|pvpanic", " ".join(texts))


def test_hyper_vs_interface_is_asked_for_where_kvm_is_and_nowhere_else() -> None:
    assert "hv-" not in " ".join(arguments(machine(windows(starts_by_uefi=True), accelerator=Accelerator.TCG)))


def test_a_bios_finds_its_disk_on_ide() -> None:
    devices = option("-device", arguments(machine(windows(starts_by_uefi=False), DISC)))
    assert devices[1].startswith("ide-hd,discard_granularity=512,bus=ide.0,unit=0,")
    assert devices[2].startswith("ide-cd,bus=ide.0,unit=1,")


@pytest.mark.parametrize("starts_by_uefi", [True, False])
def test_an_image_with_drivers_of_virtio_has_discs_all_the_same(starts_by_uefi: bool) -> None:
    profile = windows(starts_by_uefi=starts_by_uefi, has_virtio_disk=True, has_virtio_network=True)
    devices = " ".join(option("-device", arguments(machine(profile, DISC))))
    assert "virtio-blk-pci,drive=disk0" in devices
    assert "ide-cd,bus=ide.0" in devices
    assert "virtio-net-pci" in devices


@pytest.mark.parametrize("is_ide", [True, False])
def test_disks_beyond_the_boards_ports_get_controllers_of_their_own(is_ide: bool) -> None:
    for count in (1, 4, 5, 6, 7, 13, 66):
        places = [slot(number, is_ide=is_ide).option for number in range(count)]
        assert len(set(places)) == count
        more = {text.partition("id=")[2] for text in controllers(count, is_ide=is_ide)}
        assert {place.split("=")[1].split(".")[0] for place in places} - {"ide"} == more


def test_the_second_serial_port_is_a_channel_behind_the_console() -> None:
    texts = arguments(machine(windows(starts_by_uefi=True)))
    assert option("-serial", texts) == ["chardev:console", "chardev:channel0"]
    assert sockets(machine(LEAN))["channel0"] == REPORT.socket
    assert "virtio-serial-pci" not in texts


def test_a_picture_is_written_to_a_descriptor_of_ours() -> None:
    assert picture_command("/dev/fdset/9") == {"execute": "screendump", "arguments": {"filename": "/dev/fdset/9"}}
