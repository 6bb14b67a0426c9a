"""How a disk is started with its console on the terminal; and small images made from folders."""

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from vmkiln.errors import HostUnfit
from vmkiln.host import console_boot, namespace, qemu
from vmkiln.host.console_boot import PREFIX, Entrance, Keys, booted, machine_of
from vmkiln.host.disk import iso_image
from vmkiln.host.disk.ext4_image import BLOCK_BYTES, MARGIN_BYTES, make_ext4, size_for
from vmkiln.host.namespace import Namespace
from vmkiln.host.qemu import Accelerator, Disk

OVERLAY = Disk(Path("/w/overlay.qcow2"), "qcow2", backing=Disk(Path("/i/image.qcow2"), "qcow2"), is_boot=True)


def test_a_booted_image_has_no_network_and_keeps_the_system_call_filter() -> None:
    machine = machine_of([OVERLAY], accelerator=Accelerator.TCG, memory_mib=1024, cpus=2, firmware=None)
    words = qemu.arguments(machine)
    assert "-nodefaults" in words
    assert "-sandbox" in words
    assert not any(text.startswith(("-netdev", "-nic")) or "pflash" in text for text in words)


def test_an_image_that_is_entered_has_a_link_and_the_disc_that_tells_who_may() -> None:
    entrance = Entrance("tap-build", "02:00:00:00:00:01", Path("/w/seed.iso"), contextlib.nullcontext)
    machine = machine_of(
        [OVERLAY], accelerator=Accelerator.TCG, memory_mib=1024, cpus=2, firmware=None, entrance=entrance
    )
    assert (machine.tap, machine.mac) == ("tap-build", "02:00:00:00:00:01")
    assert machine.disks[-1] == Disk(Path("/w/seed.iso"), "raw", read_only=True, is_disc=True)
    assert any(text.startswith("tap,") for text in qemu.arguments(machine))


async def test_the_overlay_of_a_killed_boot_goes_with_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed, seen = tmp_path / f"{PREFIX}killed", list[Path]()
    killed.mkdir()
    (killed / "overlay.qcow2").write_text("left")

    @contextlib.asynccontextmanager
    async def unfit() -> AsyncIterator[Namespace]:
        seen.extend(tmp_path.iterdir())
        raise HostUnfit("no namespace here")
        yield

    monkeypatch.setattr(namespace, "opened", unfit)
    options: dict[str, Any] = {"workplace": tmp_path, "accelerator": Accelerator.TCG, "memory_mib": 64, "cpus": 1}
    with pytest.raises(HostUnfit):
        async with booted(OVERLAY, firmware=None, show=lambda _: asyncio.sleep(0), **options):
            pass
    assert (len(seen), killed in seen, list(tmp_path.iterdir())) == (1, False, [])


def test_a_generation_2_image_gets_firmware_with_variables_of_its_own() -> None:
    files = (Path("/usr/share/code.fd"), Path("/w/variables.fd"))
    machine = machine_of([OVERLAY], accelerator=Accelerator.KVM, memory_mib=1024, cpus=2, firmware=files)
    assert [(file.path, file.writable) for file in qemu.files(machine)][-2:] == [(files[0], False), (files[1], True)]


@pytest.mark.parametrize(
    ("typed", "given", "is_over"),
    [
        ([b"ls\r\x03"], b"ls\r\x03", False),
        ([b"a\x01x", b"b"], b"a", True),
        ([b"a\x01", b"Xb"], b"a", True),
        ([b"\x01\x01x"], b"\x01x", False),
        ([b"\x01b"], b"\x01b", False),
    ],
)
def test_what_is_typed_goes_to_the_guest_until_ctrl_a_x(typed: list[bytes], given: bytes, is_over: bool) -> None:
    keys = Keys()
    found = b"".join(keys.typed(text) for text in typed if not keys.is_over)
    assert (found, keys.is_over) == (given, is_over)


async def test_without_a_program_for_iso_images_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HostUnfit) as caught:
        await iso_image.make_iso(tmp_path / "seed.iso", {"a": "b"}, label="cidata")
    assert "xorriso" in (caught.value.hint or "")
    assert list(tmp_path.iterdir()) == []


async def test_an_iso_image_holds_the_texts_under_its_label(tmp_path: Path) -> None:
    await iso_image.make_iso(tmp_path / "seed.iso", {"user-data": "#cloud-config\nhello"}, label="cidata")
    content = (tmp_path / "seed.iso").read_bytes()
    assert content[32768 + 40 : 32768 + 46] == b"cidata"
    assert b"#cloud-config\nhello" in content
    assert [path.name for path in tmp_path.iterdir()] == ["seed.iso"]


@pytest.mark.parametrize("sizes", [[], [0], [1] * 300, [5_000_000, 3]])
async def test_an_ext4_image_has_room_for_every_file(tmp_path: Path, sizes: list[int]) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for index, size in enumerate(sizes):
        (folder / f"{index:04}").write_bytes(b"x" * size)
    assert size_for(folder) >= sum(sizes) + MARGIN_BYTES * 9 // 10
    assert size_for(folder) % BLOCK_BYTES == 0
    await make_ext4(tmp_path / "image.ext4", folder)
    magic = (tmp_path / "image.ext4").read_bytes()[1024 + 56 : 1024 + 58]
    assert magic == b"\x53\xef"


async def test_a_guest_that_takes_nothing_can_be_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console_boot, "TAKEN_SECONDS", 0.01)
    monkeypatch.setattr(console_boot, "MOST_UNTAKEN_BYTES", 256 * 1024)
    ours, theirs = socket.socketpair()
    typed, keyboard = os.pipe()
    with theirs, os.fdopen(typed) as stdin, os.fdopen(keyboard, "wb") as keys:
        monkeypatch.setattr(sys, "stdin", stdin)
        _, console = await asyncio.open_connection(sock=ours)
        passing = asyncio.create_task(console_boot._pass_on(console))
        await asyncio.to_thread(keys.write, b"y" * 2 * 1024**2)
        await asyncio.to_thread(keys.write, b"\x01x")
        await asyncio.to_thread(keys.flush)
        assert await asyncio.wait_for(passing, 60)
        assert console.transport.get_write_buffer_size() < 300 * 1024
        console.transport.abort()
