"""The container group's events: three short lines, from a machine on which anything may have happened."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiers
from hypothesis import given, settings
from hypothesis import strategies as st

from vmkiln.host.virtual_machine import Reader
from vmkiln.run_failures import NotBelieved
from vmkiln.staging import container_group
from vmkiln.staging.container_group import CONTAINER_INSTANCE, MOST_EVENT_BYTES, EventPort, started

TOLD = b"started\npeak 34567\nexited 3\n"
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
    async with started(nothing, nothing, directory=Path("/"), on_output=lambda _: None) as instance:
        events = ports[f"{CONTAINER_INSTANCE}.events"]
        assert not instance.started.is_set()
        events(b"star")
        events(TOLD[4:])
        events(b"exited 0\n")
        assert instance.started.is_set()
        assert (await instance.exit_status, instance.peak_memory_kib) == (3, 34567)
