"""What has to be the same for a container group to go on from one that was saved."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vmkiln.errors import HostUnfit
from vmkiln.host import qemu
from vmkiln.host.confinement.program_files import ProgramFiles
from vmkiln.host.qemu import Accelerator
from vmkiln.host.saved import saved_vm
from vmkiln.images.container_image import ContainerImage
from vmkiln.run_failures import VirtualMachineLost
from vmkiln.staging.container_group import ContainerGroup, machine_of
from vmkiln.warm import machine_facts, saved_group
from vmkiln.warm.program_digest import digest_of_files
from vmkiln.warm.saved_group import obtain_saved_group

IMAGE = ContainerImage(Path("/k"), Path("/i"), Path("/disk"), "digest", "1.6.6")


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A program in QEMU's place, with a folder of firmware."""
    path = tmp_path / "qemu"
    path.write_text("program")
    (tmp_path / "firmware").mkdir()
    (tmp_path / "firmware/bios").write_text("bios")

    async def files(_name: str) -> ProgramFiles:
        return ProgramFiles(str(path), (str(path), str(tmp_path / "firmware")))

    monkeypatch.setattr(machine_facts, "program_files", files)
    return path


async def key(image: ContainerImage = IMAGE, accelerator: Accelerator = Accelerator.TCG, **changes: Any) -> str:
    group = ContainerGroup(image.kernel, image.initramfs, image.disk, Path("/input"), accelerator, **changes)
    facts = await machine_facts.machine_facts(machine_of(group, name="n", tap="t", mac="m"))
    return saved_vm.key_of({**facts, "image": image.digest})


async def test_another_image_memory_accelerator_or_cpu_has_another_key(
    program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert program.exists()
    keys = [await key(), await key(replace(IMAGE, digest="other")), await key(memory_mib=396)]
    keys.append(await key(accelerator=Accelerator.KVM))
    monkeypatch.setattr(machine_facts, "_cpu", lambda: ["another CPU"])
    keys.append(await key(accelerator=Accelerator.KVM))
    assert await key() == keys[0], "under emulation the host's CPU is all the same"
    monkeypatch.setattr(qemu, "cpu_model", lambda *_: "another")
    keys.append(await key())
    assert len(set(keys)) == len(keys)


async def test_another_qemu_or_firmware_has_another_key(program: Path) -> None:
    keys = [await key()]
    for path, text in ((program, "newer"), (program.parent / "firmware/bios", "new!"), (program, "program")):
        path.write_text(text)
        keys.append(await key())
    assert len(set(keys)) == 4


def test_a_digest_has_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    before = digest_of_files([str(tmp_path)])
    (tmp_path / "a").rename(tmp_path / "b")
    assert digest_of_files([str(tmp_path)]) != before


async def test_the_room_for_one_is_had_only_while_it_is_made(
    program: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert program.exists()
    had: list[str] = []

    @asynccontextmanager
    async def room() -> AsyncIterator[None]:
        had.append("taken")
        yield
        had.append("given back")

    async def made(folder: Path, key: str, _group: ContainerGroup) -> None:
        had.append("made")
        workplace = saved_vm.begun(folder, key)
        (workplace / saved_vm.MEMORY).write_bytes(b"ram")
        saved_vm.finished(workplace, b"devices", "0" * 64)
        saved_vm.named(workplace)

    monkeypatch.setattr(saved_group, "_made", made)
    for _ in range(2):
        found = await obtain_saved_group(
            tmp_path / "saved", IMAGE, Accelerator.TCG, most_mib=1, progress=print, room=room
        )
        assert found is not None
    assert had == ["taken", "made", "given back"]


@pytest.mark.parametrize("error", [HostUnfit("no ids"), VirtualMachineLost("it ended"), OSError(28, "full")])
async def test_a_host_that_cannot_save_one_boots_them(
    error: Exception, program: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert program.exists()

    @asynccontextmanager
    async def opened() -> AsyncIterator[None]:
        raise error
        yield

    monkeypatch.setattr(saved_group.namespace, "opened", opened)
    said: list[str] = []
    folder = tmp_path / "saved"
    found = await obtain_saved_group(folder, IMAGE, Accelerator.TCG, most_mib=1, progress=said.append)
    assert found is None
    again = await obtain_saved_group(folder, IMAGE, Accelerator.TCG, most_mib=1, progress=said.append)
    assert again is None
    assert len(said) == (1 if isinstance(error, VirtualMachineLost) else 2), "a day passes first"
    assert not [path for path in await asyncio.to_thread(lambda: list(folder.iterdir())) if path.is_dir()]
