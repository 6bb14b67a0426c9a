"""The inspection VM, described: no network, and disks that it may write to only to scrub them."""

import re
import subprocess
from pathlib import Path

import pytest

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


OF_A_SYSTEM = ("tops_of", "take_journals", "trim_boot", "without_links", "waits_no_more")


def on_a_folder(folder: Path, call: str) -> None:
    """Call what the program does to a mounted file system, with a folder in its place."""
    program = (Path(container_image.__file__).parent / "inspector.pl").read_text()
    parts = [re.search(r"my @unneeded = qw\(.*?\);", program, re.DOTALL)]
    for name in ("names_in", "bytes_at", "line_of", *OF_A_SYSTEM):
        parts.append(re.search(rf"^sub {name} {{$.*?^}}$", program, re.DOTALL | re.MULTILINE))
    text = "\n".join(part[0] for part in parts if part is not None).replace("/mnt", str(folder))
    assert all(parts)
    perl = ["perl", "-we", f"our (%trimmed, %physical);\n{text}\n{call}"]
    assert subprocess.run(perl, check=True, capture_output=True, text=True).stderr == ""


@pytest.mark.parametrize(("kind", "is_a_systems"), [("ext4", False), ("btrfs", True)])
def test_a_home_that_looks_like_a_system_is_left_alone(kind: str, is_a_systems: bool, tmp_path: Path) -> None:
    for top in ("", "root/"):
        wants = tmp_path / f"{top}etc/systemd/system/multi-user.target.wants"
        wants.mkdir(parents=True)
        (wants / "thermald.service").symlink_to("/lib/systemd/system/thermald.service")
        (tmp_path / f"{top}var/log/journal/{'0' * 32}").mkdir(parents=True)
        (tmp_path / f"{top}boot/grub").mkdir(parents=True)
        (tmp_path / f"{top}boot/grub/grub.cfg").write_text("set timeout=5\n")
    on_a_folder(tmp_path, f"take_journals('{kind}'); trim_boot('{kind}');")
    for top, is_done in (("", True), ("root/", is_a_systems)):
        assert (tmp_path / f"{top}boot/grub/grub.cfg").read_text() == f"set timeout={0 if is_done else 5}\n"
        assert (not list((tmp_path / f"{top}etc/systemd/system/multi-user.target.wants").iterdir())) == is_done
        assert (not list((tmp_path / f"{top}var/log/journal").iterdir())) == is_done


def test_the_inspection_vm_takes_away_what_is_on_the_list_alone() -> None:
    program = (Path(container_image.__file__).parent / "inspector.pl").read_text()
    listed = re.search(r"my @unneeded = qw\((.*?)\);", program, re.DOTALL)
    assert listed is not None
    assert sorted(listed[1].split()) == sorted(UNITS)
    assert f"$trimmed{{'{BOOT_MENU}'}}" in program
