"""A Windows image, looked at by a VM for real: registry hives on NTFS, of a clean disk and of one that is not.

`disks/windows.blocks.xz` was made by mkntfs and hivexsh: its size, then each block of 4 KiB that is not empty. It has
no Windows but two hives (one with a driver that does not start on another machine), an answer file, and words in the
places of what is changed here. `disks/windows-left.blocks.xz` has what a build has not taken away.
"""

import struct
from pathlib import Path

import pytest
from windows_volume import LEFT, PARTITION, TITLE, disk_bytes

from vmkiln.errors import ImageUnsafe
from vmkiln.host import command, namespace
from vmkiln.host.disk.disk_image import create_overlay
from vmkiln.host.qemu import Disk
from vmkiln.host.virtual_machine import bind_run_directory
from vmkiln.inspecting.residue import Residue
from vmkiln.inspecting.windows_facts import GENERALIZED, WindowsFacts, check_startable
from vmkiln.inspecting.windows_image import Work, answered, describe, look_at_windows, obtain_windows_inspector
from vmkiln.inspecting.windows_residues import read_residues, read_taken_out
from vmkiln.preparation import opened_store, prepared_host
from vmkiln.settings import Settings

pytestmark = [pytest.mark.vm, pytest.mark.usefixtures("world")]

NO_HIBERNATION, HIBERNATION = b"NOHIBERNATION-MARK", b"hibr"


def hibernated(disk: bytearray) -> bytearray:
    """The same as a Windows leaves it that is hibernated: its file says so, and the volume is marked as dirty."""
    assert disk.count(NO_HIBERNATION) == 1
    disk = disk.replace(NO_HIBERNATION, HIBERNATION.ljust(len(NO_HIBERNATION), b"."))
    sector, cluster = struct.unpack_from("<H", disk, PARTITION + 11)[0], disk[PARTITION + 13]
    for field in (48, 56):  # where the table of files is, and its mirror
        record = PARTITION + struct.unpack_from("<Q", disk, PARTITION + field)[0] * sector * cluster + 3 * 1024
        at = record + struct.unpack_from("<H", disk, record + 20)[0]
        while (kind := struct.unpack_from("<I", disk, at)[0]) != 0x70:  # $VOLUME_INFORMATION
            assert kind != 0xFFFFFFFF
            at += struct.unpack_from("<I", disk, at + 4)[0]
        struct.pack_into("<H", disk, at + struct.unpack_from("<H", disk, at + 20)[0] + 10, 1)
    return disk


async def facts_of(prepared: Settings, disk: Path, folder: Path) -> WindowsFacts:
    """What the VM tells of a disk; `folder` is made for it."""
    folder.mkdir(mode=0o700)
    with opened_store(prepared, print) as store:
        async with prepared_host(prepared, store, print) as host:
            inspector = await obtain_windows_inspector(prepared.container_image, progress=print)
            machine = describe(inspector, [Disk(disk, "raw")], accelerator=host.accelerator)
            return await look_at_windows(machine, directory=folder)


@pytest.mark.parametrize("is_clean", [True, False], ids=["clean", "hibernated"])
async def test_a_windows_tells_its_facts_and_a_hibernated_one_is_refused(
    prepared: Settings, tmp_path: Path, is_clean: bool
) -> None:
    content = disk_bytes() if is_clean else hibernated(disk_bytes())
    disk = tmp_path / "disk.raw"
    disk.write_bytes(content)
    run = tmp_path / "run"
    facts = await facts_of(prepared, disk, run)
    assert facts.title == TITLE
    assert facts.state == GENERALIZED
    assert facts.services == ("viostor", "cloudbase-init")
    assert facts.answers == ("Panther/unattend.xml",)
    assert facts.overrides == ("pci",)
    assert facts.is_hibernated is not is_clean
    assert bool(facts.unclean) is not is_clean
    assert disk.read_bytes() == content
    assert list(run.iterdir()) == []
    if is_clean:
        check_startable(facts)
    else:
        with pytest.raises(ImageUnsafe, match="hibernated"):
            check_startable(facts)


async def told(prepared: Settings, disk: Disk, folder: Path, work: Work) -> bytes:
    """What the VM tells when it does such work on a disk."""
    folder.mkdir(mode=0o700)
    with opened_store(prepared, print) as store:
        async with prepared_host(prepared, store, print) as host, namespace.opened() as inside:
            await bind_run_directory(inside, folder)
            inspector = await obtain_windows_inspector(prepared.container_image, progress=print)
            machine = describe(inspector, [disk], accelerator=host.accelerator, work=work)
            return await answered(inside, machine, directory=folder)


@pytest.mark.long
async def test_what_a_build_left_in_a_windows_is_found_and_not_written_to(prepared: Settings, tmp_path: Path) -> None:
    content = disk_bytes(LEFT)
    disk = tmp_path / "disk.raw"
    disk.write_bytes(content)
    look = read_residues(await told(prepared, Disk(disk, "raw"), tmp_path / "run", Work.RESIDUES))
    assert len(look.found) == 19
    assert {one.residue for one in look.found} == {
        Residue.ANSWER_FILE, Residue.BUILD_USER, Residue.HISTORY, Residue.LOGIN_KEY, Residue.PACKER_FILES
    }  # fmt: skip
    assert (len(look.told), len(look.unproven)) == (5, 1)
    assert disk.read_bytes() == content


@pytest.mark.long
async def test_what_keeps_a_windows_from_beginning_is_taken_out_of_a_copy(prepared: Settings, tmp_path: Path) -> None:
    content = disk_bytes(LEFT)
    disk, overlay = tmp_path / "disk.raw", tmp_path / "overlay.qcow2"
    disk.write_bytes(content)
    own = await create_overlay(Disk(disk, "raw"), overlay, size_bytes=None)
    found = read_taken_out(await told(prepared, own, tmp_path / "run", Work.TAKE_OUT))
    assert found.taken == (
        "answer Windows/Panther/Unattend/Unattend.xml",
        "answer Windows/Panther/unattend.xml",
        "override pci",
    )
    assert (found.stays, found.broken) == ((), "")
    assert disk.read_bytes() == content, "the image itself is as it was"
    raw = tmp_path / "after.raw"
    await command.run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", overlay, raw], timeout_seconds=120)
    facts = await facts_of(prepared, raw, tmp_path / "again")
    assert (facts.answers, facts.overrides, facts.unclean) == ((), (), "")
    assert facts.services == ("viostor", "cloudbase-init"), "the hive has all else"
