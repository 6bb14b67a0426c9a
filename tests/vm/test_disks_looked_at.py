"""The inspection VM, for real: one boot looks at disks of every kind that it reads, and scrubs what is free in them.

`disks/*.blocks.xz` were made by mkfs.xfs and mkfs.btrfs: their size, then each block of 4 KiB that is not empty.
"""

import asyncio
import lzma
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from vmkiln.host import namespace
from vmkiln.host.disk.disk_image import convert, create_overlay
from vmkiln.host.qemu import Disk
from vmkiln.host.virtual_machine import bind_run_directory
from vmkiln.inspecting.disk_contents import DiskContents
from vmkiln.inspecting.hygiene import residues
from vmkiln.inspecting.inspection import describe, look_at
from vmkiln.inspecting.residue import Found, Residue
from vmkiln.preparation import opened_store, prepared_host
from vmkiln.settings import Settings

pytestmark = [pytest.mark.vm, pytest.mark.usefixtures("world")]

DISKS = Path(__file__).parent / "disks"
MIB = 1024**2
DELETED = b"a deleted secret, which is long enough to be looked for"
LOADER = b"a boot loader before the first partition"
PV_ID = "abcdef0123456789abcdef0123456789"


MACHINE_ID = "0123456789abcdef0123456789abcdef"
# of each kind of residue one, as a build would leave it
LEFT = {
    "etc/os-release": "ID=left\n",
    "etc/passwd": "packer:x:1000:1000::/home/packer:/bin/bash\n",
    "etc/sudoers.d/90-cloud-init-users": "packer ALL=(ALL) NOPASSWD:ALL\n",
    "root/.ssh/authorized_keys": "ssh-ed25519 AAAA vmkiln-build\n",
    "etc/ssh/ssh_host_ed25519_key": "a key\n",
    "etc/machine-id": f"{MACHINE_ID}\n",
    f"var/log/journal/{MACHINE_ID}/system.journal": "a journal\n",
    "var/lib/cloud/instances/run/user-data.txt": "a seed\n",
    "var/lib/systemd/random-seed": "random\n",
    "root/.bash_history": "secret --password x\n",
    "var/lib/dhcp/dhclient.leases": "a lease\n",
    "tmp/script_1234.sh": "#!/bin/sh\n",
}
MENU = "if true; then\n  set timeout=30\nelse\n  set timeout=5\nfi\n"
# what a first boot waits for, and beside it what is left alone
WAITS = {
    "boot/grub/grub.cfg": MENU,
    "etc/default/grub": 'GRUB_DEFAULT=0\nGRUB_TIMEOUT="5"\n',
    "etc/default/grub.d/mine.cfg": "GRUB_TIMEOUT=-1\n",
    "elsewhere/grub.cfg": MENU,
}
LINKS = {
    "etc/systemd/system/multi-user.target.wants/ModemManager.service": "/usr/lib/systemd/system/ModemManager.service",
    "etc/systemd/system/multi-user.target.wants/ssh.service": "/usr/lib/systemd/system/ssh.service",
    "etc/systemd/system/graphical.target.wants": "/var/units",
    "var/units/bluetooth.service": "/usr/lib/systemd/system/bluetooth.service",
    "boot/grub2": "/elsewhere",
}
SCRUBBED = ("small-blocks", "lvm", "swap")


@dataclass(frozen=True)
class Seen:
    """What one boot found, and the files it worked on, by name."""

    contents: DiskContents
    confinement: list[str]
    scrubbed: dict[str, Path]


def unpacked(name: str, target: Path) -> Path:
    """A disk from its blocks."""
    content = lzma.decompress((DISKS / f"{name}.blocks.xz").read_bytes())
    with target.open("wb") as file:
        file.truncate(struct.unpack_from("<Q", content)[0])
        for start in range(8, len(content), 8 + 4096):
            file.seek(struct.unpack_from("<Q", content, start)[0] * 4096)
            file.write(content[start + 8 : start + 8 + 4096])
    return target


def an_ext4(target: Path, block_bytes: int) -> Path:
    """A file system with a file, and with the bytes of one that was deleted."""
    folder = target.with_suffix("")
    (folder / "etc").mkdir(parents=True)
    (folder / "etc/hostname").write_text("of ext4\n")
    (folder / "etc/ssh-key").write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nnone\n")
    for path, content in {**LEFT, **WAITS}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(content)
    for path, target_of_link in LINKS.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).symlink_to(target_of_link)
    (folder / "gone").write_bytes(DELETED * 50)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-b", str(block_bytes), "-d", folder, target, "32M"], check=True)
    subprocess.run(["debugfs", "-w", "-R", "rm /gone", target], check=True, capture_output=True)
    assert DELETED in target.read_bytes()
    return target


def an_lvm(target: Path, inner: bytes) -> Path:
    """A physical volume with one logical volume, in two segments; source: lvm2's on-disk format, as text metadata."""
    extent, half = 8192, len(inner) // 2
    extents = half // (extent * 512)
    dashed = "-".join([PV_ID[:6], *(PV_ID[at : at + 4] for at in range(6, 26, 4)), PV_ID[26:]])
    segments = "".join(
        f'segment{number + 1} {{ start_extent = {number * extents} extent_count = {extents} type = "striped" '
        f'stripe_count = 1 stripes = [ "pv0", {first} ] }}\n'
        for number, first in enumerate((1 + extents, 0))
    )
    text = (
        f'vg {{ id = "v" seqno = 1 status = ["READ", "WRITE"] extent_size = {extent} # a comment\n'
        f'physical_volumes {{ pv0 {{ id = "{dashed}" pe_start = 2048 pe_count = {2 * extents + 1} }} }}\n'
        f'logical_volumes {{ root {{ id = "l" segment_count = 2\n{segments}}} }} }}\n'
    ).encode()
    header = PV_ID.encode() + struct.pack("<7Q", 1 << 30, MIB, 0, 0, 0, 4096, MIB - 4096) + bytes(16)
    with target.open("wb") as file:
        file.truncate(MIB + (2 * extents + 2) * extent * 512)
        file.seek(512)
        file.write(b"LABELONE" + struct.pack("<QII", 1, 0, 32) + b"LVM2 001" + header)
        file.seek(4096)
        area = (
            struct.pack("<I", 0)
            + b" LVM2 x[5A%r0N*>"
            + struct.pack("<IQQQQII", 1, 4096, MIB - 4096, 512, len(text), 0, 0)
        )
        file.write(area)
        file.seek(4096 + 512)
        file.write(text)
        file.seek(MIB + (1 + extents) * extent * 512)
        file.write(inner[:half])
        file.seek(MIB)
        file.write(inner[half:])
        file.seek(MIB + extents * extent * 512)  # the extent that no volume has
        file.write(DELETED)
    return target


def a_swap(target: Path) -> Path:
    """A disk with a boot loader, a partition of swap that was used, and with what was in a partition that is gone."""
    swap = b"\0" * 1024 + struct.pack("<II", 1, 1023)  # of linux/swap.h
    with target.open("wb") as file:
        file.truncate(8 * MIB)
        file.seek(446)
        file.write(struct.pack("<4xB3xII", 0x82, 2048, 8192) + bytes(48) + b"\x55\xaa")
        for at, content in (
            (MIB // 2, LOADER),
            (MIB, swap.ljust(4086, b"\0") + b"SWAPSPACE2" + DELETED),
            (3 * MIB, DELETED),
            (6 * MIB, DELETED),
        ):
            file.seek(at)
            file.write(content)
    return target


def a_wiped(target: Path) -> Path:
    """A disk whose beginning is zeros, and nothing else is."""
    with target.open("wb") as file:
        file.truncate(4 * MIB)
        file.seek(2 * MIB)
        file.write(DELETED)
    return target


@pytest.fixture(scope="module")
def seen(prepared: Settings, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """One boot with every disk."""
    folder = tmp_path_factory.mktemp("looked-at")
    folder.chmod(0o700)
    source = next(path for path in sorted(prepared.image_cache.glob("*/disk.qcow2")) if path.is_file())
    raw = {
        "xfs": unpacked("xfs", folder / "xfs.raw"),
        "btrfs": unpacked("btrfs", folder / "btrfs.raw"),
        "small-blocks": an_ext4(folder / "small.raw", 1024),
        "lvm": an_lvm(folder / "lvm.raw", an_ext4(folder / "inner.raw", 4096).read_bytes()),
        "luks": folder / "luks.raw",
        "swap": a_swap(folder / "swap.raw"),
        "wiped": a_wiped(folder / "wiped.raw"),
        "empty": folder / "empty.raw",
    }
    raw["luks"].write_bytes(b"LUKS\xba\xbe" + bytes(4 * MIB - 6))
    raw["empty"].write_bytes(bytes(4 * MIB))
    below = {"os": Disk(source, "qcow2"), **{name: Disk(path, "raw") for name, path in raw.items()}}
    held: list[str] = []

    async def on_confinement(_: str, facts: list[dict[str, object]]) -> None:
        held.extend(str(fact["name"]) for fact in facts if fact["holds"])

    async def work() -> DiskContents:
        with opened_store(prepared, print) as store:
            async with prepared_host(prepared, store, print) as host, namespace.opened() as inside:
                disks = [
                    await create_overlay(disk, folder / f"{name}.qcow2", cluster_bytes=4096)
                    for name, disk in below.items()
                ]
                await bind_run_directory(inside, folder)
                machine = describe(host.container_image, disks, accelerator=host.accelerator, scrub=True, trim=True)
                found = await look_at(inside, machine, directory=folder, on_confinement=on_confinement)
                for name in SCRUBBED:
                    disk = Disk(folder / f"{name}.qcow2", "qcow2", backing=below[name])
                    await convert(disk, folder / f"{name}.scrubbed", target_format="raw")
                return found

    contents = asyncio.run(work())
    return Seen(contents, held, {name: folder / f"{name}.scrubbed" for name in SCRUBBED})


def test_an_operating_system_is_read_from_outside(seen: Seen) -> None:
    found = seen.contents
    assert found.os_release["ID"] == "debian"
    assert b"\nPackage: cloud-init\n" in (found.dpkg_status or b"")
    assert found.users["root"] == 0
    assert found.enabled_units
    assert found.disks[0].table in {"gpt", "mbr"}
    assert any(path == "etc/ssh/sshd_config" for path, _ in found.paths("etc/ssh"))
    shadow = (found.content("etc/shadow") or b"").decode().splitlines()
    assert shadow
    assert {line.partition(":")[2] for line in shadow} <= {"locked", "empty", "set"}


def test_xfs_btrfs_and_lvm_are_read_too(seen: Seen) -> None:
    volumes = {volume.device: volume for volume in seen.contents.volumes}
    assert (volumes["disk1"].filesystem, volumes["disk1"].label) == ("xfs", "xfs-label")
    assert (volumes["disk2"].filesystem, volumes["disk2"].label) == ("btrfs", "btrfs-label")
    names = {device: volumes[device].contents.get(b"etc/hostname") for device in ("disk1", "disk2", "disk3", "vg-root")}
    outside = b"written outside\n"
    assert names == {"disk1": outside, "disk2": outside, "disk3": b"of ext4\n", "vg-root": b"of ext4\n"}
    assert (b"etc/ssh-key", "private key") in volumes["vg-root"].marks


@pytest.mark.parametrize("device", ["disk3", "vg-root"])
def test_every_kind_of_residue_is_found_on_a_disk(seen: Seen, device: str) -> None:
    volume = next(volume for volume in seen.contents.volumes if volume.device == device)
    left = residues(DiskContents((), (volume,)), user="packer", host_name="build-vm", key_comment="vmkiln-build")
    of_windows = {Residue.ANSWER_FILE, Residue.SET_UP}
    assert {found.residue for found in left} == set(Residue) - of_windows - {Residue.RUN_SECRETS}, "those are in bytes"
    journal = f"/var/log/journal/{MACHINE_ID}/system.journal"
    assert Found(Residue.MACHINE_ID, journal) in left, "the journal of a machine with an id is not taken away"


def test_what_cannot_be_read_is_unproven(seen: Seen) -> None:
    assert seen.contents.unproven == (
        "disk5 (luks): luks is not read",
        "disk7 (empty): it begins with zeros, and something else lies behind",
    )


@pytest.mark.parametrize("name", ["small-blocks", "lvm"])
def test_a_deleted_secret_is_gone_from_the_bytes(seen: Seen, name: str) -> None:
    content = seen.scrubbed[name].read_bytes()
    assert b"of ext4" in content
    assert DELETED not in content


def test_swap_and_what_lies_between_partitions_are_overwritten(seen: Seen) -> None:
    content = seen.scrubbed["swap"].read_bytes()
    assert DELETED not in content
    assert content.index(b"SWAPSPACE2") == MIB + 4086, "it is still swap"
    assert content.index(LOADER) == MIB // 2
    assert {volume.device: volume.filesystem for volume in seen.contents.volumes}["disk6-1"] == "swap"


def test_what_a_first_boot_waits_for_is_taken_away_and_no_link_is_followed(seen: Seen) -> None:
    volumes = {volume.device: volume for volume in seen.contents.volumes}
    assert volumes["disk3"].trimmed == volumes["vg-root"].trimmed == ("ModemManager.service", "boot-menu")
    assert not volumes["disk1"].trimmed
    links = {entry.path.decode() for entry in volumes["disk3"].entries} & set(LINKS)
    assert links == set(LINKS) - {"etc/systemd/system/multi-user.target.wants/ModemManager.service"}
    disk = seen.scrubbed["small-blocks"]

    def text(path: str) -> str:
        command = ["debugfs", "-R", f"cat /{path}", str(disk)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    assert text("boot/grub/grub.cfg") == MENU.replace("30", "0").replace("5", "0")
    assert text("etc/default/grub") == "GRUB_DEFAULT=0\nGRUB_TIMEOUT=0\n"
    assert text("etc/default/grub.d/mine.cfg") == WAITS["etc/default/grub.d/mine.cfg"], "to wait for ever is a choice"
    assert text("elsewhere/grub.cfg") == MENU


def test_it_is_held_as_every_vm(seen: Seen) -> None:
    assert len(seen.confinement) > 20
