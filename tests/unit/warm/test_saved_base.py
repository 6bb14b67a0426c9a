"""What has to be the same for a build VM to go on from another, and what one says that is to be saved."""

import asyncio
import base64
import os
import re
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import IPv4Interface
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vmkiln.errors import HostUnfit
from vmkiln.host.confinement import vm_jail
from vmkiln.host.confinement.program_files import ProgramFiles
from vmkiln.host.disk.firmware import FirmwareFiles
from vmkiln.host.qemu import Accelerator, Disk, SavedVm
from vmkiln.host.saved import memory_file, saved_vm
from vmkiln.images.container_image import ContainerImage
from vmkiln.run_failures import VirtualMachineLost
from vmkiln.staging.virtual_network import decide
from vmkiln.warm import machine_facts, saved_base, saved_group
from vmkiln.warm.saved_base import RENEWAL, Base, BaseStart, obtain_saved_base, renewal_command, thrown_away

NETWORK = decide([IPv4Interface("192.0.2.2/24")], is_windows=False)
BASE = Base("build-vm", Disk(Path("/s"), "qcow2"), "digest", 2**31, 1, 512, Accelerator.TCG, NETWORK)


@pytest.fixture(autouse=True)
def program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A program in QEMU's place."""
    path = tmp_path / "qemu"
    path.write_text("program")

    async def files(_name: str) -> ProgramFiles:
        return ProgramFiles(str(path), (str(path),))

    monkeypatch.setattr(machine_facts, "program_files", files)
    return path


async def key(base: Base = BASE) -> str:
    return saved_vm.key_of(await saved_base.facts_of(base))


async def test_another_source_shape_network_or_firmware_has_another_key(program: Path, tmp_path: Path) -> None:
    firmware = FirmwareFiles(tmp_path / "code", tmp_path / "variables")
    for path in (firmware.code, firmware.variables):
        path.write_text("firmware")
    other = decide([IPv4Interface("10.0.0.5/24")], is_windows=False)
    changes: list[dict[str, Any]] = [
        {},
        {"digest": "another"},
        {"disk_bytes": 2**32},
        {"cpus": 2},
        {"memory_mib": 1024},
        {"accelerator": Accelerator.KVM},
        {"firmware": firmware},
    ]
    if other.build_vm_subnet != NETWORK.build_vm_subnet:
        changes.append({"network": other})
    keys = [await key(replace(BASE, **change)) for change in changes]
    firmware.variables.write_text("newer")
    keys.append(await key(replace(BASE, firmware=firmware)))
    program.write_text("newer")
    keys.append(await key())
    assert len(set(keys)) == len(keys)
    program.write_text("program")
    assert await key(replace(BASE, source=Disk(Path("/elsewhere"), "qcow2"))) == keys[0], "a path is no fact"


async def test_what_waits_in_the_guest_is_part_of_the_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = await key()
    newer = tmp_path / "renewal"
    newer.write_bytes(RENEWAL.read_bytes() + b"\n# newer\n")
    monkeypatch.setattr(saved_base, "RENEWAL", newer)
    assert await key() != before


def test_the_guest_gets_the_whole_program_by_a_command_that_sh_reads() -> None:
    command = renewal_command()
    subprocess.run(["sh", "-n", "-c", command], check=True)
    sent = re.search(r"printf %s (\S+) ", command)
    assert sent is not None
    assert base64.b64decode(sent[1]) == RENEWAL.read_bytes()


def test_one_that_goes_on_has_no_way_to_what_was_saved() -> None:
    folder = Path("/cache/saved")
    saved = SavedVm(folder / "memory", "m", folder / "devices", "d", folder / "disk", "k")
    machine = replace(saved_base._machine(BASE, Path("/run/own"), Path("/run/seed"), None), saved=saved)
    held = vm_jail.confinement_of(machine, ProgramFiles("/qemu", ("/qemu",)), own_id=5)
    paths = [one.target for one in held.descriptors] + list(held.jail.files) + list(held.jail.copies.values())
    assert not [path for path in paths if path.startswith(str(folder))]


def saying(text: str, *, ended: bool = False) -> Any:
    """A VM that said something on its console."""
    done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    if ended:
        done.set_result(SimpleNamespace(status=1))
    return SimpleNamespace(console=bytearray(text.encode()), ended=done, last_console_lines=lambda _count: "")


@pytest.mark.parametrize(
    ("text", "ended", "reason"),
    [
        ("vmkiln-renewal: cannot: /dev/hwrng has no random numbers\r\n", False, "/dev/hwrng has no"),
        ("Kernel panic", True, "ended"),
        ("vmkiln-renewal: ready\n", False, "was waited for 0 s"),
    ],
)
async def test_one_that_is_not_renewed_is_lost(
    text: str, ended: bool, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saved_base, "RENEWAL_SECONDS", 0)
    with pytest.raises(VirtualMachineLost, match=reason):
        await saved_base.renewed(saying(text, ended=ended))


async def test_one_that_says_it_is_renewed_is_used() -> None:
    await saved_base.renewed(saying("Debian login: \nvmkiln-renewal: renewed\n"))


@pytest.mark.parametrize("error", [HostUnfit("no ids"), VirtualMachineLost("it ended"), OSError(28, "full")])
async def test_where_none_can_be_saved_the_build_vm_is_booted_and_why_is_told(
    error: Exception, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    @asynccontextmanager
    async def opened() -> AsyncIterator[None]:
        raise error
        yield

    monkeypatch.setattr(saved_base.namespace, "opened", opened)
    said: list[str] = []
    folder = tmp_path / "saved"
    none = await obtain_saved_base(folder, BASE, may_make=False, most_mib=1, progress=said.append)
    assert (none.saved, none.reason, said) == (None, "none was saved that is like it", [])
    for _ in range(2):
        found = await obtain_saved_base(folder, BASE, may_make=True, most_mib=1, progress=said.append)
        assert found.saved is None
        assert str(error.args[-1]) in found.reason
    assert len(said) == (1 if isinstance(error, VirtualMachineLost) else 2), "a day passes first"
    assert not [path for path in await asyncio.to_thread(lambda: list(folder.iterdir())) if path.is_dir()]


async def test_a_busy_hour_does_not_keep_builds_cold_for_a_day(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    @asynccontextmanager
    async def opened() -> AsyncIterator[None]:
        raise TimeoutError
        yield

    monkeypatch.setattr(saved_base.namespace, "opened", opened)
    found = await obtain_saved_base(tmp_path, BASE, may_make=True, most_mib=1, progress=lambda _: None)
    assert found.reason == saved_base.TOO_LONG
    [noted] = await asyncio.to_thread(lambda: list(tmp_path.glob(f"*{saved_vm.REFUSED}")))
    key = noted.name.removesuffix(saved_vm.REFUSED)
    assert saved_vm.refusal(tmp_path, key) == saved_base.TOO_LONG
    later = noted.stat().st_mtime - saved_vm.BUSY_SECONDS
    os.utime(noted, (later, later))
    assert saved_vm.refusal(tmp_path, key) == ""


async def test_a_disk_without_room_for_its_memory_gets_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(saved_base.shutil, "disk_usage", lambda _path: SimpleNamespace(free=600 * 2**20))
    found = await obtain_saved_base(tmp_path, BASE, may_make=True, most_mib=1, progress=print)
    assert found == BaseStart(reason="600 MiB of disk are free, and saving one takes up to 1536")


async def test_with_room_for_none_none_is_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for module in (saved_base, saved_group):
        monkeypatch.setattr(module.namespace, "opened", lambda: pytest.fail("each would push the other out"))
    found = await obtain_saved_base(tmp_path, BASE, may_make=True, most_mib=0, progress=print)
    assert found == BaseStart(reason="the setting most_saved_vms_mib is 0")
    image = ContainerImage(Path("/k"), Path("/i"), Path("/disk"), "digest", "1.6.6")
    group = await saved_group.obtain_saved_group(tmp_path, image, Accelerator.TCG, most_mib=0, progress=print)
    assert group is None


async def test_one_that_was_whole_and_of_no_use_is_not_made_again_soon(tmp_path: Path) -> None:
    for name, changed, refusal in (("a" * 64, b"", "it did not wake"), ("b" * 64, b"x", "")):
        workplace = saved_vm.begun(tmp_path, name)
        (workplace / saved_vm.DISK).write_bytes(b"disk")
        (workplace / saved_vm.MEMORY).write_bytes(b"memory" + changed)
        whole = tmp_path / "whole"
        whole.write_bytes(b"memory")
        with whole.open("rb") as file:
            digest = memory_file.digest_of(file.fileno())
        saved_vm.finished(workplace, b"devices", digest)
        saved_vm.named(workplace)
        found = saved_vm.found(tmp_path, name)
        assert found is not None
        await thrown_away(tmp_path, found, "it did not wake")
        assert saved_vm.found(tmp_path, name) is None
        assert saved_vm.refusal(tmp_path, name) == refusal


async def test_what_was_made_anew_meanwhile_is_not_thrown_away(tmp_path: Path) -> None:
    """As by the template whose checkpoint another one begins behind, while that one's VM starts."""
    key, made = "a" * 64, list[SavedVm]()
    for memory in (b"of before", b"made anew"):
        workplace = saved_vm.begun(tmp_path, key)
        (workplace / saved_vm.MEMORY).write_bytes(memory)
        saved_vm.finished(workplace, b"devices", memory_file.digest_of_file(workplace / saved_vm.MEMORY))
        for older in made:
            saved_vm.discard(older)
        saved_vm.named(workplace)
        found = saved_vm.found(tmp_path, key)
        assert found is not None
        made.append(found)
    await thrown_away(tmp_path, made[0], "what was saved is not what was saved")
    assert saved_vm.found(tmp_path, key) == made[1]
    assert saved_vm.refusal(tmp_path, key) == ""
    await thrown_away(tmp_path, made[1], "it did not wake")
    assert saved_vm.found(tmp_path, key) is None
    assert saved_vm.refusal(tmp_path, key) == "it did not wake"


async def test_room_is_had_only_while_one_is_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    done: list[str] = []

    @asynccontextmanager
    async def room() -> AsyncIterator[None]:
        done.append("taken")
        yield
        done.append("given back")

    async def made(folder: Path, key: str, *_more: object) -> None:
        done.append("made")
        workplace = saved_vm.begun(folder, key)
        (workplace / saved_vm.MEMORY).write_bytes(b"memory")
        saved_vm.finished(workplace, b"devices", "digest")
        saved_vm.named(workplace)

    monkeypatch.setattr(saved_base, "_made", made)
    for _ in range(2):
        found = await obtain_saved_base(tmp_path, BASE, may_make=True, most_mib=1000, progress=print, room=room)
        assert found.saved is not None, found.reason
    assert done == ["taken", "made", "given back"]
