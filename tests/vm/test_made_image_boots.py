"""A platform image with UEFI made here, for real: it boots by its own boot loader and is who the seed says.

`test_build.py` has one with a BIOS. The VM of this test has a network of its own inside its QEMU process and one port on
127.0.0.1, which no build has.

An emulated boot and a making are each a minute or two of CPU: so on one day an image in the making is cancelled, at
another moment each time, and on the next one is booted. The long tier has all of it.
"""

import asyncio
import json
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import tiers
from turns import ON_EVEN_DAYS, ON_ODD_DAYS

from vmkiln.host.disk.disk_image import create_overlay
from vmkiln.host.disk.firmware import find_firmware
from vmkiln.host.disk.iso_image import make_iso
from vmkiln.host.qemu import Accelerator, Disk, block_node, cpu_model
from vmkiln.images.image_header import inspect_image
from vmkiln.platform_images import making_folder
from vmkiln.platform_images.debian_recipe import DebianRecipe, make_image
from vmkiln.platform_images.image_cache import SourceImage
from vmkiln.platform_images.image_reference import PlatformImageReference
from vmkiln.platform_images.platform_image import obtain_platform_image
from vmkiln.settings import Settings
from vmkiln.staging import cloud_init_seed, virtual_network
from vmkiln.staging.login_key import new_key

pytestmark = [pytest.mark.vm, pytest.mark.image_making]
GIB = 1024**3
BOOT_SECONDS = 900  # of a machine that is busy with other tests; a quiet one takes 90
HOST_NAME = "made-here"
NETWORK = virtual_network.decide([], is_windows=False)
FACTS = """
echo "host name: $(hostname)"
echo "user: $(id -un), root by sudo: $(sudo id -u)"
echo "address: $(ip -4 -o address show scope global | awk '{print $4}')"
echo "route: $(ip route show default | awk '{print $3}')"
echo "root GiB: $(df --block-size=1G --output=size / | tail -n 1 | tr -d ' ')"
echo "firmware: $(if [ -d /sys/firmware/efi ]; then echo UEFI; else echo BIOS; fi)"
echo "failed units: $(systemctl --failed --plain --no-legend | wc -l)"
echo "timers: $(systemctl is-enabled apt-daily.timer)"
echo "cloud-init: $(cloud-init status --wait | tail -n 1)"
"""


@dataclass(frozen=True)
class Guest:
    """A booted VM, reached by ssh."""

    port: int
    key: Path
    process: "subprocess.Popen[bytes]"
    console: Path

    def command(self, script: str) -> list[str | Path]:
        return [
            "ssh", "-i", self.key, "-p", str(self.port), "-q", "-o", "BatchMode=yes", "-o", "ConnectTimeout=5",
            "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
            f"{cloud_init_seed.USER}@127.0.0.1", script,
        ]  # fmt: skip

    def ssh(self, script: str) -> str:
        return subprocess.run(
            self.command(script), check=True, capture_output=True, text=True, timeout=BOOT_SECONDS
        ).stdout

    async def answers(self) -> None:
        """Wait until ssh lets us in; fails with the end of the console when the VM ends before."""
        async with asyncio.timeout(BOOT_SECONDS):
            while True:
                assert self.process.poll() is None, self.console.read_text(errors="replace")[-3000:]
                try:
                    await asyncio.to_thread(self.ssh, "true")
                    return
                except subprocess.CalledProcessError:
                    await asyncio.sleep(0.5)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def machine_arguments(disks: list[Disk], *, generation: int, port: int, variables: Path) -> list[str]:
    subnet = NETWORK.build_vm_subnet
    net = f"user,id=net,restrict=on,net={subnet.prefix},host={subnet.router}"
    arguments = [
        "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio",
        "-machine", "q35,accel=tcg,smm=off,usb=off,i8042=off,graphics=off", "-cpu", cpu_model(Accelerator.TCG),
        "-smp", "1", "-m", "1024M",
        "-boot", "strict=on", "-device", "virtio-rng-pci",
        "-netdev", f"{net},hostfwd=tcp:127.0.0.1:{port}-{subnet.address}:22",
        "-device", f"virtio-net-pci,netdev=net,mac={subnet.mac},romfile=",
    ]  # fmt: skip
    for index, disk in enumerate(disks):
        node = {**block_node(disk), "node-name": f"disk{index}"}
        boot = ",bootindex=0" if index == 0 else ""
        arguments += ["-blockdev", json.dumps(node), "-device", f"virtio-blk-pci,drive=disk{index}{boot}"]
    if generation == 2:
        firmware = find_firmware()
        assert firmware is not None, "UEFI firmware is not installed: run script/bootstrap"
        shutil.copy(firmware.variables, variables)
        code = f"if=pflash,format=raw,readonly=on,file={firmware.code}"
        arguments += ["-drive", code, "-drive", f"if=pflash,format=raw,file={variables}"]
    return arguments


@contextmanager
def booted(disks: list[Disk], *, generation: int, key: Path, folder: Path) -> Iterator[Guest]:
    port = free_port()
    arguments = machine_arguments(disks, generation=generation, port=port, variables=folder / "variables.fd")
    with (folder / "console").open("wb") as console:
        process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=console, stderr=subprocess.STDOUT)
        try:
            yield Guest(port, key, process, folder / "console")
        finally:
            process.kill()
            process.wait()


@pytest.fixture
async def image(request: pytest.FixtureRequest, settings: Settings) -> SourceImage:
    """The platform image of a name, from the cache of the tests or made now."""
    publisher, offer, sku = request.param.split(":")
    return await obtain_platform_image(
        PlatformImageReference(publisher, offer, sku),
        cache_directory=settings.image_cache,
        user_catalogue=settings.catalogue,
        progress=print,
    )


@ON_ODD_DAYS
@pytest.mark.parametrize("image", ["Debian:debian-13:13-gen2"], indirect=True)
async def test_an_image_boots_by_its_own_boot_loader_and_is_who_the_seed_says(
    image: SourceImage, tmp_path: Path
) -> None:
    assert inspect_image(image.path, expected_format=image.format) == image.virtual_size_bytes
    overlay = await create_overlay(Disk(image.path, image.format), tmp_path / "overlay.qcow2", size_bytes=5 * GIB)
    login, host_key = new_key("login"), new_key("host")
    key = tmp_path / "key"
    key.touch(mode=0o600)
    key.write_text(login.private)
    seed = tmp_path / "seed.iso"
    contents = cloud_init_seed.contents(
        instance_id="made-here", host_name=HOST_NAME, network=NETWORK, login=login, host_key=host_key
    )
    await make_iso(seed, contents, label=cloud_init_seed.LABEL)
    disks = [overlay, Disk(seed, "raw", read_only=True)]
    with booted(disks, generation=image.generation, key=key, folder=tmp_path) as guest:
        await guest.answers()
        facts = dict(line.split(": ", 1) for line in guest.ssh(FACTS).splitlines())
        assert facts == {
            "host name": HOST_NAME,
            "user": f"{cloud_init_seed.USER}, root by sudo: 0",
            "address": NETWORK.build_vm_subnet.address_with_prefix,
            "route": str(NETWORK.build_vm_subnet.router),
            "root GiB": "5",
            "firmware": "UEFI",
            "failed units": "0",
            "timers": "enabled",
            "cloud-init": "status: done",
        }


def processes_below(folder: Path) -> list[str]:
    """This user's processes that name a folder in their arguments or environment."""
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdigit() or process.name == str(os.getpid()):
            continue
        try:
            text = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:
            continue
        if str(folder).encode() in text:
            found.append(text.split(b"\0")[0].decode(errors="replace"))
    return found


@ON_EVEN_DAYS
@pytest.mark.parametrize(
    "moment", tiers.one(["extracting archives", "installing remaining packages", "writing the root file"])
)
async def test_a_cancelled_make_ends_every_process_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    scratch = Path(tempfile.mkdtemp(prefix="vmkiln-test-"))
    scratch.chmod(0o711)
    monkeypatch.setenv("TMPDIR", str(scratch))
    reached = asyncio.Event()

    def progress(line: str) -> None:
        if moment in line:
            reached.set()

    making = asyncio.create_task(make_image(DebianRecipe("bookworm", 1), tmp_path / "disk.qcow2", progress=progress))
    try:
        reaching = asyncio.create_task(reached.wait())
        await asyncio.wait([making, reaching], return_when=asyncio.FIRST_COMPLETED)
        assert reached.is_set(), making.exception()
        await asyncio.sleep(1)
        making.cancel()
        with pytest.raises(asyncio.CancelledError):
            await making
        assert list(tmp_path.iterdir()) == []
        assert list(scratch.iterdir()) == []
        assert processes_below(scratch) == processes_below(tmp_path) == []
    finally:
        await making_folder.remove_tree(scratch)
