"""A real QEMU in its jail, with a Windows VM's devices, gives pictures of its screen by a file that it is handed."""

import struct
from dataclasses import replace
from pathlib import Path

from boot_sectors import SECTOR, disk_with
from test_device_diet import MIB, NETWORK, running

from vmkiln.host.devices import profile
from vmkiln.host.devices.screen_picture import SIGNATURE, taken
from vmkiln.host.qemu import Accelerator, Disk
from vmkiln.staging import build_vm


async def test_a_jailed_vm_with_a_screen_gives_a_new_picture_each_time(tmp_path: Path) -> None:
    disk = disk_with(tmp_path / "disk", bytes(SECTOR), size_bytes=MIB)
    seed = disk_with(tmp_path / "seed", bytes(SECTOR), size_bytes=MIB)
    own = Disk(disk, "raw", is_boot=True, size_bytes=MIB)
    vm = build_vm.BuildVm("build-vm", 1, 64, own, seed, Accelerator.TCG, None)
    vm = replace(vm, profile=profile.windows(starts_by_uefi=False))
    async with running(build_vm.describe(vm, NETWORK), tmp_path) as live:
        sets = await live.control.execute("query-fdsets")
        for _ in range(3):
            picture = await taken(live.control)
            assert picture.startswith(SIGNATURE)
            width, height = struct.unpack_from(">II", picture, len(SIGNATURE) + 8)
            assert min(width, height) > 100
        assert await live.control.execute("query-fdsets") == sets, "nothing of it stays with QEMU"
