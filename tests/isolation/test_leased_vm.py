"""A VM is put on disk, sealed, and woken as it was: by who has the keys, on copies, for as long as it is kept."""

import asyncio
import contextlib
from pathlib import Path
from tempfile import TemporaryFile
from types import SimpleNamespace
from typing import Any

import pytest
from boot_sectors import counts_for_ever, disk_with
from test_counting_vm import COUNTED, MEMORY_MIB, MIB, NETWORK, goes_on, until

from vmkiln.errors import InputError
from vmkiln.host import namespace, virtual_machine
from vmkiln.host.network import network_setup
from vmkiln.host.qemu import Accelerator, Disk, Machine
from vmkiln.host.saved import sealed_copy
from vmkiln.run.held import lease, sealing, waking
from vmkiln.run.held.sealing import Kept, NotLeased
from vmkiln.run_failures import VirtualMachineLost
from vmkiln.settings import Settings
from vmkiln.store.database import Store, opened

RUN = "0123abcd-0000-0000-0000-000000000000"
# what is in its files: its program, the beginnings of a disk and of the state of devices
IN_IT = {"memory": counts_for_ever()[:32], "disk0": b"QFI\xfb\0\0\0\3", "devices": b"QEVM\0\0\0\3"}


class Failing:
    """A VM that counts, whose step failed, in a namespace with a network; what it lies on and where it is put."""

    def __init__(self, settings: Settings, store: Store, stack: contextlib.AsyncExitStack) -> None:
        self.settings, self.store, self.stack = settings, store, stack
        self.host: Any = SimpleNamespace(
            settings=settings,
            store=store,
            accelerator=Accelerator.TCG,
            container_image=SimpleNamespace(kernel=Path("k"), initramfs=Path("i"), disk=Path("d")),
            saved_group=None,
        )

    async def started(self, folder: Path) -> None:
        self.inside = await self.stack.enter_async_context(namespace.opened())
        await self.stack.enter_async_context(network_setup.joined(self.inside, NETWORK.network))
        guest, disk = disk_with(folder / "guest", counts_for_ever(), size_bytes=MIB), folder / "disk.qcow2"
        await self.inside.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", guest, "-F", "raw", disk])
        self.machine = Machine(
            "build-vm",
            Accelerator.TCG,
            1,
            MEMORY_MIB,
            (Disk(disk, "qcow2", backing=Disk(guest, "raw"), is_boot=True, size_bytes=MIB),),
            NETWORK.build_vm_subnet.tap,
            "02:00:00:00:00:01",
            virtual_machine.INSIDE / "console",
            virtual_machine.INSIDE / "control",
            is_saveable=True,
            boots_plugged_in=True,
        )
        await virtual_machine.bind_run_directory(self.inside, folder)
        running = virtual_machine.running(self.inside, self.machine, directory=folder, channels={})
        self.vm = await self.stack.enter_async_context(running)
        await until(lambda: COUNTED in self.vm.console)

    async def put_on_disk(self, *, until: float) -> lease.Lease:
        kept = Kept(self.machine, NETWORK, "the key")
        return await sealing.sealed(self.inside, self.vm, kept, self.settings, self.store, run_id=RUN, until=until)

    def plain(self, made: lease.Lease, name: str) -> bytes:
        """What is in a sealed file, for who has the keys."""
        key = bytes.fromhex(lease.opened(made, self.store).keys[name])
        with made.file(name).open("rb") as sealed, TemporaryFile() as opened:
            sealed_copy.opened(sealed.fileno(), opened.fileno(), key)
            opened.seek(0)
            return opened.read()


@contextlib.asynccontextmanager
async def failing(tmp_path: Path, **settings: Any) -> Any:
    folder = tmp_path / "run"
    folder.mkdir()
    own = Settings(tmp_path / "home", **settings)
    own.home.mkdir()
    async with asyncio.timeout(240), contextlib.AsyncExitStack() as stack:
        found = Failing(own, stack.enter_context(opened(own.database, keys=tmp_path / "keys")), stack)
        await found.started(folder)
        yield found


async def test_a_failed_vm_is_put_on_disk_and_woken_as_it_was_and_again(tmp_path: Path) -> None:
    async with failing(tmp_path) as one:
        made = await one.put_on_disk(until=2e9)
        assert one.vm.ended.done(), "it holds disk, and no memory"
        stood_at = one.vm.console[-1]
        for name, text in IN_IT.items():
            assert text in one.plain(made, name), f"so it can be looked for in what is sealed: {name}"
            for path in made.folder.iterdir():
                assert text not in path.read_bytes() or path.name.startswith("below"), path.name
        for path in (tmp_path / "run/disk.qcow2", tmp_path / "guest"):
            path.unlink(missing_ok=True)  # as the run's folder goes
        async with waking.woken(one.host, RUN, print) as awake:
            await until(lambda: len(awake.vm.console) > 10 or awake.vm.ended.done())
            assert goes_on(awake.vm.console, stood_at), list(awake.vm.console[:20])
            assert (awake.directory / "held.key").read_text() == "the key"
            left_at = len(awake.vm.console)
            again = await awake.put_back()
            counted = awake.vm.console[-1]
        assert (again.generation, again.until) == (2, made.until)
        assert left_at
        assert sorted(path.suffix for path in again.folder.glob("memory.*")) == [".2"], "the older one is gone"
        assert list(one.settings.runs.iterdir()) == []
        async with waking.woken(one.host, RUN, print) as awake:
            await until(lambda: len(awake.vm.console) > 10 or awake.vm.ended.done())
            assert goes_on(awake.vm.console, counted), "and again, from where it was left"
        assert lease.found(one.settings, RUN) is not None, "who leaves it without a word finds it as it was"


async def test_a_failed_vm_is_not_woken_when_a_byte_of_it_was_changed(tmp_path: Path) -> None:
    async with failing(tmp_path) as one:
        made = await one.put_on_disk(until=2e9)
        for name, error in (("memory", VirtualMachineLost), ("disk0", InputError), ("devices", InputError)):
            path = made.file(name)
            whole = path.read_bytes()
            path.write_bytes(whole[:300] + bytes([whole[300] ^ 1]) + whole[301:])
            with pytest.raises(error):
                async with waking.woken(one.host, RUN, print):
                    pass
            path.write_bytes(whole)
        async with waking.woken(one.host, RUN, print):
            pass  # whole again, it is


@pytest.mark.parametrize(
    ("settings", "told"),
    [({"most_held_vms_mib": 0}, "most_held_vms_mib is 0"), ({"most_held_vms_mib": 1}, "would take")],
)
async def test_a_vm_for_which_there_is_no_room_goes_on_and_nothing_is_left(
    tmp_path: Path, settings: dict[str, int], told: str
) -> None:
    async with failing(tmp_path, **settings) as one:
        with (tmp_path / "run/disk.qcow2").open("ab") as disk:
            disk.write(b"x" * 2 * MIB)
        with pytest.raises(NotLeased, match=told):
            await one.put_on_disk(until=2e9)
        counted = len(one.vm.console)
        await until(lambda: len(one.vm.console) > counted + 10 or one.vm.ended.done())
        assert not one.vm.ended.done()
        assert list(one.settings.leases.glob("*")) == []


async def test_a_vm_whose_time_is_over_is_deleted_also_while_somebody_is_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with failing(tmp_path) as one:
        made = await one.put_on_disk(until=2e9)

        async def never_left(_folder: Path) -> int:
            return await asyncio.get_running_loop().create_future()

        monkeypatch.setattr(waking, "seconds_left", lambda _lease: 0.1)
        said: list[str] = []
        assert await waking.visited(one.host, RUN, never_left, said.append) is None
        assert said == ["its time is over"]
        assert not made.folder.exists()
        assert list(one.settings.runs.iterdir()) == []
        with pytest.raises(InputError, match="is not held"):
            async with waking.woken(one.host, RUN, print):
                pass
