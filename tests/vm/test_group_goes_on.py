"""Container groups that go on from one that was saved: who they are, what they can write, and what is never used."""

import asyncio
import contextlib
import hashlib
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from vmkiln.host import namespace
from vmkiln.host.confinement.confinement import Fact
from vmkiln.host.disk.ext4_image import make_ext4
from vmkiln.host.qemu import MEMORY_INSIDE, SavedVm
from vmkiln.host.saved import memory_file, saved_vm
from vmkiln.host.virtual_machine import bind_run_directory
from vmkiln.images.container_image import ContainerImage
from vmkiln.preparation import opened_store, prepared_host
from vmkiln.run.run_context import BuildHost
from vmkiln.settings import Settings
from vmkiln.staging import container_group
from vmkiln.staging.container_group import ContainerGroup, finished, machine_of, started
from vmkiln.warm.saved_group import NAME

pytestmark = pytest.mark.vm

TAP, MAC = "tap-container", "02:00:0a:00:00:04"
NETWORK = f"mac={MAC}\naddress=10.0.0.4/24\ngateway=10.0.0.1\nrelay=2222\ntarget=10.0.1.4\nport=22\nway=relay\n"
WHO = r"""
sub content { open my $file, '<', $_[0] or return "$_[0]: $!"; sysread $file, my $text, $_[1]; chomp $text; $text }
print "boot id ", content("/proc/sys/kernel/random/boot_id", 64), "\n";
print "random ", unpack("H*", content("/dev/urandom", 32)), "\n";
print "time ", time, "\n";
print "route ", content("/proc/net/route", 4096) =~ /0100000A/ ? "set" : "none", "\n";
# a guest with root that writes to all that it can: its memory, its disks
my $filling = "poison" x (10 * 1024 * 1024);
for my $disk ("/dev/vda", "/dev/vdb") { print "wrote $disk\n" if open my $out, '+<', $disk and syswrite $out, $filling, 512 }
"""


@dataclass(frozen=True)
class Group:
    """What one container group said, what held its process, and after how many seconds it ran."""

    said: str
    facts: tuple[Fact, ...]
    opened: tuple[str, ...]
    seconds: float
    went_on: bool

    def __getitem__(self, name: str) -> str:
        return next(line.removeprefix(f"{name} ") for line in self.said.splitlines() if line.startswith(f"{name} "))


@asynccontextmanager
async def a_host(settings: Settings) -> AsyncIterator[BuildHost]:
    with opened_store(settings, print) as store:
        async with prepared_host(settings, store, print) as host:
            yield host


async def a_group(host: BuildHost, folder: Path, saved: SavedVm | None, *command: str) -> Group:
    """A container group with a program in Packer's place, to its end."""
    image: ContainerImage = host.container_image
    run_folder, given = folder / "run", folder / "input"
    for path in (run_folder, given):
        path.mkdir()
    (given / "arguments").write_text("".join(f"{word}\n" for word in command))
    (given / "environment").write_text("HOME=/tmp\n")
    (given / container_group.NETWORK_FILE).write_text(NETWORK)
    (given / "who.pl").write_text(WHO)
    await make_ext4(folder / "input.ext4", given)
    group = ContainerGroup(
        image.kernel, image.initramfs, image.disk, folder / "input.ext4", host.accelerator, saved=saved
    )
    said, kept = bytearray(), []
    opened: list[str] = []
    async with namespace.opened() as inside:

        async def keep(name: str, facts: list[Fact]) -> None:
            kept.append(facts)
            asked = await inside.facts(name)
            opened.extend(f"{one['target']}" for one in asked["program"]["descriptors"])

        await bind_run_directory(inside, run_folder)
        await inside.run(["ip", "tuntap", "add", "dev", TAP, "mode", "tap"])
        machine = machine_of(group, name="container-vm", tap=TAP, mac=MAC)
        began = time.monotonic()
        start = started(inside, machine, directory=run_folder, on_output=said.extend, on_confinement=keep)
        async with start as instance, asyncio.timeout(120):
            await instance.started.wait()
            seconds = time.monotonic() - began
            status = await finished(instance)
        assert status == 0, said
    return Group(said.decode(), tuple(kept[-1]), tuple(opened), seconds, MEMORY_INSIDE in opened)


def digests(saved: SavedVm) -> tuple[str, str]:
    with saved.memory.open("rb") as file:
        return memory_file.digest_of(file.fileno()), hashlib.sha256(saved.devices.read_bytes()).hexdigest()


@dataclass(frozen=True)
class Seen:
    """Two groups from the same, one that was booted, and one from what somebody changed a byte of."""

    first: Group
    second: Group
    booted: Group
    damaged: Group
    saved: SavedVm
    copy_is_left: bool
    image: Path


@pytest.fixture(scope="module")
def seen(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    folder = tmp_path_factory.mktemp("groups")

    def empty(name: str) -> Path:
        (folder / name).mkdir()
        return folder / name

    async def work() -> Seen:
        async with a_host(settings) as host:
            saved = host.saved_group
            assert saved is not None
            who = ("/perl", "/aib/packerInput/who.pl")
            first = await a_group(host, empty("first"), saved, *who)
            second = await a_group(host, empty("second"), saved, *who)
            booted = await a_group(host, empty("booted"), None, *who)
            copy = a_copy(saved, empty("copy") / "of")
            with copy.memory.open("r+b") as file:
                file.seek(20 * 1024**2 + 7)
                byte = file.read(1)
                file.seek(-1, 1)
                file.write(bytes([byte[0] ^ 1]))
            damaged = await a_group(host, empty("damaged"), copy, *who)
            return Seen(
                first, second, booted, damaged, saved, copy.memory.parent.exists(), host.container_image.disk.parent
            )

    yield asyncio.run(work())
    shutil.rmtree(folder)


def a_copy(saved: SavedVm, folder: Path) -> SavedVm:
    shutil.copytree(saved.memory.parent, folder)
    for path in folder.iterdir():
        path.chmod(0o600)
    return replace(saved, memory=folder / saved.memory.name, devices=folder / saved.devices.name)


def test_two_that_go_on_from_the_same_have_no_random_number_in_common(seen: Seen) -> None:
    for name in ("boot id", "random"):
        assert len({seen.first[name], seen.second[name], seen.booted[name]}) == 3


def test_one_that_goes_on_has_the_time_of_now_and_its_place_in_the_network(seen: Seen) -> None:
    for group in (seen.first, seen.second):
        assert abs(int(group["time"]) - time.time()) < 120
        assert group["route"] == "set"
    assert int(seen.second["time"]) > int(seen.first["time"])


def test_one_that_goes_on_can_write_nothing_that_others_go_on_from(seen: Seen) -> None:
    for group in (seen.first, seen.second):
        assert group.went_on
        assert not [path for path in group.opened if path.startswith(str(seen.saved.memory.parent))]
        assert all(fact["holds"] for fact in group.facts if fact["required"])
        assert "wrote" not in group.said
    assert digests(seen.saved) == (seen.saved.memory_digest, seen.saved.devices_digest)


def test_one_byte_changed_and_it_is_thrown_away_and_the_group_booted(seen: Seen) -> None:
    assert not seen.damaged.went_on
    assert seen.damaged["route"] == "set"
    assert not seen.copy_is_left


def test_it_runs_much_sooner_than_one_that_is_booted(seen: Seen) -> None:
    assert min(seen.first.seconds, seen.second.seconds) < seen.booted.seconds / 2


KILLED = """
import asyncio, sys
from pathlib import Path
from vmkiln.host.qemu import Accelerator
from vmkiln.images.container_image import ContainerImage
from vmkiln.warm.saved_group import obtain_saved_group
place = Path(sys.argv[1])
image = ContainerImage(place / "vmlinuz", place / "initramfs", place / "disk.ext4", "of a test", "")
asyncio.run(obtain_saved_group(Path(sys.argv[2]), image, Accelerator.TCG, most_mib=1024, progress=print))
"""


def test_a_maker_that_is_killed_leaves_no_process_and_nothing_for_long(seen: Seen, tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    maker = subprocess.Popen([sys.executable, "-c", KILLED, str(seen.image), str(folder)], stdout=subprocess.DEVNULL)
    try:
        until(lambda: bool(makers_of(folder)), "QEMU is there")
        assert [path for path in folder.iterdir() if path.is_dir()]
    finally:
        maker.kill()
        maker.wait()
    until(lambda: not makers_of(folder), "QEMU is gone")
    mine = saved_vm.begun(folder, "0" * 64)
    assert [path for path in folder.iterdir() if path.is_dir()] == [mine]


def makers_of(folder: Path) -> list[str]:
    """QEMUs that boot a group to be saved, while there is something that is being made in the folder."""
    if not list(folder.glob(f"{saved_vm.BEING_MADE}*")):
        return []
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            text = path.read_bytes()
            found += [path.parent.name] if b"qemu-system" in text and NAME.encode() in text else []
    return found


def until(is_so: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)
