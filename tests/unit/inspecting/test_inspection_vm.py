"""The inspection VM, described: no network, and disks that it may write to only to scrub them."""

import re
from pathlib import Path

from vmkiln.host.confinement import vm_jail
from vmkiln.host.confinement.program_files import ProgramFiles
from vmkiln.host.qemu import Accelerator, Disk, arguments, files, most_file_bytes
from vmkiln.images import container_image
from vmkiln.images.container_image import ContainerImage
from vmkiln.inspecting.inspection import describe
from vmkiln.inspecting.trims import BOOT_MENU, UNITS

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


def test_what_is_trimmed_is_written_to_and_told_to_the_vm() -> None:
    trim = describe(IMAGE, DISKS, accelerator=Accelerator.TCG, scrub=True, trim=True)
    assert [file.path for file in files(trim) if file.writable] == [Path("/run/top.qcow2")]
    assert any("vmkiln.work=trim" in text for text in arguments(trim))


def test_the_inspection_vm_takes_away_what_is_on_the_list_alone() -> None:
    program = (Path(container_image.__file__).parent / "inspector.pl").read_text()
    listed = re.search(r"my @unneeded = qw\((.*?)\);", program, re.DOTALL)
    assert listed is not None
    assert sorted(listed[1].split()) == sorted(UNITS)
    assert f"$trimmed{{'{BOOT_MENU}'}}" in program
