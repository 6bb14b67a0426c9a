"""The inspection VM, described: no network, and disks that it may write to only to scrub them."""

from pathlib import Path

from vmkiln.host.confinement import vm_jail
from vmkiln.host.confinement.program_files import ProgramFiles
from vmkiln.host.qemu import Accelerator, Disk, arguments, files, most_file_bytes
from vmkiln.images.container_image import ContainerImage
from vmkiln.inspecting.inspection import describe

IMAGE = ContainerImage(Path("/k"), Path("/i"), Path("/d"), "digest", "1.6.6", inspector=Path("/look"))
DISKS = [Disk(Path("/run/top.qcow2"), "qcow2", backing=Disk(Path("/base.qcow2"), "qcow2"), size_bytes=1 << 30)]


def test_it_has_no_network_and_one_port() -> None:
    machine = describe(IMAGE, DISKS, accelerator=Accelerator.TCG, scrub=False)
    texts = arguments(machine)
    assert not [text for text in texts if "net" in text or "tap" in text]
    assert [text for text in texts if text.startswith("virtserialport")] == [
        "virtserialport,chardev=channel0,name=inspection.answer"
    ]
    held = vm_jail.confinement_of(machine, ProgramFiles("/usr/bin/qemu", ()), own_id=7)
    assert "tap" not in {descriptor.name for descriptor in held.descriptors}


def test_disks_are_read_only_unless_they_are_scrubbed() -> None:
    look = describe(IMAGE, DISKS, accelerator=Accelerator.TCG, scrub=False)
    assert not [file for file in files(look) if file.writable]
    assert most_file_bytes(look) == 0
    scrub = describe(IMAGE, DISKS, accelerator=Accelerator.TCG, scrub=True)
    assert [file.path for file in files(scrub) if file.writable] == [Path("/run/top.qcow2")]
