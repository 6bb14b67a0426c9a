"""Room of a host for what is no run: placement counts it as long as its process has it, and no longer."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from waiting_runs import add_waiting_runs

from vmkiln.azure_names import Architecture
from vmkiln.fleet import run_queue
from vmkiln.fleet.admission import Need, QueuePosition, Waiting, positions
from vmkiln.host.host_id import host_id
from vmkiln.host.network import host_watch
from vmkiln.host.qemu import Accelerator, Disk
from vmkiln.run.cleaning_up import end_leftovers
from vmkiln.run.held import lease, sealing, waking
from vmkiln.run.room import NOTHING, QEMU_MIB, Asked, Room, room_for
from vmkiln.run.starts import beside_runs, warming
from vmkiln.run.vm_shape import decide_shape
from vmkiln.settings import Settings
from vmkiln.staging import container_group
from vmkiln.store.database import Store, opened, utc_now
from vmkiln.store.rows import HostRow
from vmkiln.template.source import PlatformImageSource
from vmkiln.template.vm_profile import VmProfile
from vmkiln.warm.saved_base import SPARE_MIB, BaseStart

WHOLE = Room(4, 8192, 100_000)
HALF = Room(1, 4096, 5000)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(tmp_path)


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    with opened(settings.database) as found:
        add_host(found, "here", host_id(settings))
        add_host(found, "there", "another-host")
        yield found


def add_host(store: Store, name: str, own_id: str) -> None:
    room = (WHOLE.cpus, WHOLE.memory_mib, WHOLE.disk_mib)
    store.hosts.register(HostRow(name, own_id, name, "x86_64", "emulated", "", *room), lease_seconds=600)


def promised(store: Store) -> dict[str, Room]:
    return {host.name: host.promised for host in run_queue.hosts_now(store)}


def place_of(store: Store, memory_mib: int) -> QueuePosition:
    """Where a run that needs so much memory would go, were it alone in the queue."""
    need = Need(Room(1, memory_mib, 4096))
    (found,) = positions([Waiting("r", "s", utc_now())], need_of=lambda _: need, hosts=run_queue.hosts_now(store))
    return found


def test_room_that_is_taken_is_promised_to_nobody_else(settings: Settings, store: Store) -> None:
    assert promised(store) == {"here": NOTHING, "there": NOTHING}
    with beside_runs.taken(settings, store, HALF, "saving"):
        assert promised(store) == {"here": HALF, "there": NOTHING}
        assert place_of(store, 4000).reason == ""
        assert place_of(store, 5000).incarnation == "there", "it has no room beside it here"
        with beside_runs.taken(settings, store, HALF, "saving another"):
            assert promised(store)["here"] == HALF + HALF
    assert promised(store) == {"here": NOTHING, "there": NOTHING}
    assert list(settings.rooms.iterdir()) == []


def test_it_is_given_back_whatever_happens_inside(settings: Settings, store: Store) -> None:
    with pytest.raises(ValueError, match="in it"), beside_runs.taken(settings, store, HALF, "saving"):
        raise ValueError("in it")
    assert store.rooms.all() == []


KILLED = """
import os, signal, sys
from pathlib import Path
from vmkiln.run.room import Room
from vmkiln.run.starts import beside_runs
from vmkiln.run.vm_shape import decide_shape
from vmkiln.settings import Settings
from vmkiln.store.database import opened

settings = Settings(Path(sys.argv[1]))
with opened(settings.database) as store, beside_runs.taken(settings, store, Room(1, 4096, 5000), "saving"):
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_had_is_given_back_by_who_cleans_up(settings: Settings, store: Store) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, settings.home], check=False, env=os.environ)
    assert killed.returncode == -signal.SIGKILL
    assert promised(store)["here"] == HALF
    told: list[str] = []
    with beside_runs.taken(settings, store, HALF, "another's work"):
        end_leftovers(settings, store, told.append)
        assert promised(store)["here"] == HALF, "who lives keeps its own"
    assert told == ["room of this host is given back that was taken for saving: its process died"]
    assert store.rooms.all() == []
    assert list(settings.rooms.iterdir()) == []


def test_who_gives_its_room_back_meanwhile_is_not_told_as_dead(
    settings: Settings, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with beside_runs.taken(settings, store, HALF, "saving"):
        rows = store.rooms.all()
    monkeypatch.setattr(store.rooms, "all", lambda: rows)
    assert beside_runs.give_back_left(settings, store) == []


def test_nobody_gives_back_what_another_host_has(settings: Settings, store: Store) -> None:
    elsewhere = Settings(settings.home / "elsewhere")
    elsewhere.home.mkdir()
    with beside_runs.taken(elsewhere, store, HALF, "saving there"):
        assert beside_runs.give_back_left(settings, store) == []
        assert len(store.rooms.all()) == 1


def test_two_that_look_at_once_leave_the_room_that_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each sees room for one run beside it; who comes second is told no, as where two runs had all there is."""
    settings = Settings(tmp_path / "home")
    properties = {
        "source": {"type": "PlatformImage", "publisher": "Debian", "offer": "debian-12", "sku": "12"},
        "vmProfile": {"vmSize": "Standard_D1_v2"},
        "distribute": [{"type": "VHD", "runOutputName": "out"}],
        "provisioningState": "Succeeded",
    }
    with opened(settings.database) as store:
        asked = Asked(None, "Standard_D1_v2", is_windows=False, os_disk_gb=0, data_disks_gb=0, copies=1)
        most_mib = 2 * room_for(settings, store, asked).memory_mib + 500
        host = HostRow("here", host_id(settings), "here", "x86_64", "emulated", "", 8, most_mib, 100_000)
        store.hosts.register(host, lease_seconds=600)
        runs = add_waiting_runs(
            store, range(2), subscriptions=["s"], properties=properties, resource_group="rg", staging_group="IT_x"
        )
        reserve, others = store.hosts.reserve, list[run_queue.Given]()

        def as_another_looks(*arguments: Any, **named: Any) -> list[str]:
            monkeypatch.setattr(store.hosts, "reserve", reserve)
            others.append(run_queue.place(settings, store, {}, only={runs[1]}))
            return reserve(*arguments, **named)

        monkeypatch.setattr(store.hosts, "reserve", as_another_looks)
        with beside_runs.taken(settings, store, Room(1, 1000, 0), "saving"):
            mine = run_queue.place(settings, store, {}, only={runs[0]})
        assert [row.run_id for row in others[0].taken] == [runs[1]]
        assert [row.run_id for row in mine.lost] == [runs[0]]
        assert len(run_queue.place(settings, store, {}, only={runs[0]}).taken) == 1, "once it is given back"


async def test_a_base_that_is_saved_for_no_build_has_room_of_its_own(
    settings: Settings, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Room] = []
    base: Any = SimpleNamespace(cpus=2, memory_mib=3584)

    async def obtain(*_arguments: object, **named: Any) -> BaseStart:
        assert (await asyncio.to_thread(promised, store))["here"] == NOTHING, "only while one is made"
        async with named["room"]():
            seen.append((await asyncio.to_thread(promised, store))["here"])
        return BaseStart(reason="not tried")

    async def resolve_source(*_arguments: object, **_named: object) -> Any:
        return SimpleNamespace(os_type="Linux", generation=1, architecture="x64", virtual_size_bytes=1)

    async def addresses() -> list[object]:
        return []

    monkeypatch.setattr(warming, "resolve_source", resolve_source)
    monkeypatch.setattr(warming, "decide_shape", lambda *_arguments, **_named: None)
    monkeypatch.setattr(warming, "base_of", lambda *_arguments, **_named: base)
    monkeypatch.setattr(warming, "obtain_saved_base", obtain)
    monkeypatch.setattr(host_watch, "host_addresses", addresses)
    host: Any = SimpleNamespace(settings=settings, store=store, cpus=4, memory_mib=8192)
    image = PlatformImageSource(type="PlatformImage", publisher="Debian", offer="debian-12", sku="12")
    await warming.warmed(host, image, vm_size="", os_disk_size_gb=0, progress=print)
    assert seen == [Room(2, 3584 + QEMU_MIB, 3584 + SPARE_MIB)]
    assert promised(store)["here"] == NOTHING


def test_a_visit_takes_the_failed_vm_and_what_leads_into_it(tmp_path: Path) -> None:
    disks = (Disk(tmp_path / "of the run", "qcow2"), Disk(tmp_path / "seed", "raw", is_disc=True))
    machine: Any = SimpleNamespace(cpus=1, memory_mib=3584, accelerator=Accelerator.TCG, disks=disks, boot=None)
    found = lease.Lease(tmp_path, "r", 4e9, 2, 0, "")
    (tmp_path / "disk0.2").write_bytes(b"w" * 3 * lease.MIB)
    (tmp_path / "disk0.1").write_bytes(b"w" * 50 * lease.MIB)
    room = waking._room_of(machine, found)
    assert room.cpus == 2
    assert room.memory_mib == 3584 + container_group.MEMORY_MIB + 2 * QEMU_MIB
    assert room.disk_mib == 3 + 3 + 3584 + sealing.SPARE_MIB, "opened, and put on disk again with its memory"


@pytest.mark.parametrize("vm_size", ["", "Standard_D2_v2", "Standard_B1s"])
def test_a_base_that_is_saved_beside_a_build_has_the_room_of_its_build(
    settings: Settings, store: Store, vm_size: str
) -> None:
    """It is the build VM's shape, and is gone before that VM starts: nothing more has to be kept for it."""
    asked = Asked(source=None, vm_size=vm_size, is_windows=False, os_disk_gb=0, data_disks_gb=0, copies=1)
    room = room_for(settings, store, asked)
    shape = decide_shape(
        VmProfile(vm_size=vm_size),
        generation=2,
        architecture=Architecture.X64,
        source_bytes=1,
        host_cpus=64,
        host_memory_mib=2**20,
        reserved_mib=settings.reserved_memory_mib,
    )
    assert shape.memory_mib + container_group.MEMORY_MIB + 2 * QEMU_MIB <= room.memory_mib
    assert shape.cpus < room.cpus
