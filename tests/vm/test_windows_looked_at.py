"""Facts of a Windows image, read by a VM for real: registry hives on NTFS, of a clean disk and of one that is not.

`disks/windows.blocks.xz` was made by mkntfs and hivexsh: its size, then each block of 4 KiB that is not empty. It has
no Windows but two hives (one with a driver that does not start on another machine), an answer file, and words in the
places of what is changed here.
"""

import struct
from pathlib import Path

import pytest
from windows_volume import PARTITION, TITLE, disk_bytes

from vmkiln.errors import ImageUnsafe
from vmkiln.host.qemu import Disk
from vmkiln.inspecting.windows_facts import GENERALIZED, check_startable
from vmkiln.inspecting.windows_image import describe, look_at_windows, obtain_windows_inspector
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


@pytest.mark.parametrize("is_clean", [True, False], ids=["clean", "hibernated"])
async def test_a_windows_tells_its_facts_and_a_hibernated_one_is_refused(
    prepared: Settings, tmp_path: Path, is_clean: bool
) -> None:
    content = disk_bytes() if is_clean else hibernated(disk_bytes())
    disk = tmp_path / "disk.raw"
    disk.write_bytes(content)
    run = tmp_path / "run"
    run.mkdir(mode=0o700)
    with opened_store(prepared, print) as store:
        async with prepared_host(prepared, store, print) as host:
            inspector = await obtain_windows_inspector(prepared.container_image, progress=print)
            machine = describe(inspector, Disk(disk, "raw"), accelerator=host.accelerator)
            facts = await look_at_windows(machine, directory=run)
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
