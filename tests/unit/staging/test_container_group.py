"""The container group's events: three short lines, from a machine on which anything may have happened."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Mapping
from ipaddress import IPv4Interface
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import tiers
from hypothesis import given, settings
from hypothesis import strategies as st

from vmkiln.host.qemu import Accelerator, Machine, SavedVm, arguments
from vmkiln.host.saved import saved_vm
from vmkiln.host.virtual_machine import Reader
from vmkiln.run_failures import ContainerGroupLost, NotBelieved, NotConfined, VirtualMachineLost
from vmkiln.staging import container_group, virtual_network
from vmkiln.staging.container_group import (
    CONTAINER_INSTANCE,
    MOST_EVENT_BYTES,
    ContainerGroup,
    EventPort,
    describe,
    machine_of,
    network_text,
    started,
)

TOLD = b"started\npeak 34567\nexited 3\n"
SAVED = SavedVm(Path("/cache/memory"), "m", Path("/cache/devices"), "d")
EVENTS = [("started", 0), ("peak", 34567), ("exited", 3)]


@settings(max_examples=tiers.cheap_examples())
@given(st.lists(st.integers(0, len(TOLD)), max_size=6))
def test_events_may_be_cut_anywhere(cuts: list[int]) -> None:
    port, ends = EventPort(), [0, *sorted(cuts), len(TOLD)]
    found = [event for begin, end in itertools.pairwise(ends) for event in port.feed(TOLD[begin:end])]
    assert found == EVENTS


@settings(max_examples=tiers.cheap_examples())
@given(st.binary(max_size=200).map(lambda content: content + b"\n"))
def test_what_is_no_event_is_passed_over(content: bytes) -> None:
    port = EventPort()
    port.feed(content)
    assert port.feed(TOLD) == EVENTS


@pytest.mark.parametrize("line", ["exited", "exited -1", "exited x", "exited 1 2", "exited ²", "peak " + "9" * 13])
def test_a_number_that_is_none_is_no_event(line: str) -> None:
    assert EventPort().feed(f"{line}\n".encode()) == []


@pytest.mark.parametrize("chunk", [b"x" * 65536, b"\n" * 65536, b"started\n" * 8192], ids=["no end", "empty", "events"])
def test_a_group_that_tells_too_much_is_refused_at_once(chunk: bytes) -> None:
    port = EventPort()
    with pytest.raises(NotBelieved, match=f"more than {MOST_EVENT_BYTES} bytes"):
        port.feed(chunk)
    assert not port._pending


async def test_the_events_are_those_of_the_instance(monkeypatch: pytest.MonkeyPatch) -> None:
    ports: dict[str, Reader] = {}

    @contextlib.asynccontextmanager
    async def running(*_: object, channels: Mapping[str, Reader], **__: object) -> AsyncIterator[Any]:
        ports.update(channels)
        yield SimpleNamespace(ended=asyncio.get_running_loop().create_future())

    monkeypatch.setattr(container_group, "running", running)
    nothing: Any = None
    machine = machine_of(a_group(), name="n", tap="t", mac="m")
    async with started(nothing, machine, directory=Path("/"), on_output=lambda _: None) as instance:
        events = ports[f"{CONTAINER_INSTANCE}.events"]
        assert not instance.started.is_set()
        events(b"star")
        events(TOLD[4:])
        events(b"exited 0\n")
        assert instance.started.is_set()
        assert (await instance.exit_status, instance.peak_memory_kib) == (3, 34567)


def a_group(saved: SavedVm | None = None) -> ContainerGroup:
    return ContainerGroup(Path("/k"), Path("/i"), Path("/disk"), Path("/input"), Accelerator.TCG, saved=saved)


def test_every_runs_group_is_the_machine_that_was_saved() -> None:
    network = virtual_network.decide((IPv4Interface("192.0.2.1/24"),), is_windows=False)
    texts = arguments(describe(a_group(SAVED), network, name="container-build-vm"))
    was = arguments(machine_of(a_group(), name="saved", tap="tap", mac="02:00:00:00:00:01", is_saveable=True))
    place = texts.index("-incoming")
    del texts[place : place + 2]
    different = [(ours, theirs) for ours, theirs in zip(texts, was, strict=True) if ours != theirs]
    mac = network.container_group_subnet.mac
    assert different == [
        ("container-build-vm", "saved"),
        (f"virtio-net-pci,netdev=net,mac={mac},romfile=", "virtio-net-pci,netdev=net,mac=02:00:00:00:00:01,romfile="),
    ]
    assert str(network.container_group_subnet.address) not in " ".join(texts)
    assert f"mac={mac}" in network_text(network).splitlines()


class Starts:
    """Stands in for `running`: what was started, and whether one that goes on starts."""

    def __init__(self, error: Exception | None) -> None:
        self.error = error
        self.machines: list[Machine] = []

    @contextlib.asynccontextmanager
    async def __call__(self, _namespace: object, machine: Machine, **_: object) -> AsyncIterator[Any]:
        self.machines.append(machine)
        if machine.saved is not None and self.error is not None:
            raise self.error
        yield SimpleNamespace(ended=asyncio.get_running_loop().create_future())


async def start(monkeypatch: pytest.MonkeyPatch, starts: Starts, saved: SavedVm, *, may_boot: bool = True) -> None:
    monkeypatch.setattr(container_group, "running", starts)
    machine, nothing = machine_of(a_group(saved), name="n", tap="t", mac="m"), cast(Any, None)
    async with started(nothing, machine, directory=Path("/"), on_output=lambda _: None, may_boot=may_boot):
        pass


def something_saved(folder: Path) -> SavedVm:
    workplace = saved_vm.begun(folder, "key")
    (workplace / saved_vm.MEMORY).touch()
    saved_vm.finished(workplace, b"", "m")
    saved_vm.named(workplace)
    found = saved_vm.found(folder, "key")
    assert found is not None
    return found


async def test_what_is_of_no_use_is_thrown_away_and_the_group_booted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    saved, starts = something_saved(tmp_path), Starts(VirtualMachineLost("not what was saved"))
    await start(monkeypatch, starts, saved)
    assert [machine.saved for machine in starts.machines] == [saved, None]
    assert not list(tmp_path.iterdir())


async def test_what_is_of_use_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    saved, starts = something_saved(tmp_path), Starts(None)
    await start(monkeypatch, starts, saved)
    assert [machine.saved for machine in starts.machines] == [saved]
    assert saved.memory.exists()


async def test_a_group_whose_process_is_not_held_is_not_booted_instead(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    starts = Starts(NotConfined("the process is not confined"))
    with pytest.raises(NotConfined):
        await start(monkeypatch, starts, something_saved(tmp_path))
    assert len(starts.machines) == 1


async def test_one_that_is_only_tried_is_never_booted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    starts = Starts(VirtualMachineLost("not what was saved"))
    with pytest.raises(ContainerGroupLost):
        await start(monkeypatch, starts, something_saved(tmp_path), may_boot=False)
    assert len(starts.machines) == 1
