"""A failed VM is put on disk, else held running where that may be: where Packer's place in the network is free."""

import asyncio
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vmkiln.errors import DatabaseAway
from vmkiln.run.held import holding, lease
from vmkiln.run.held.sealing import NotLeased
from vmkiln.run_failures import NotBelieved
from vmkiln.settings import Settings


class Packers:
    """A container group that ends when it is told to quit, or does not."""

    def __init__(self, *, obeys: bool) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.control = self
        self._obeys = obeys
        self.told: list[str] = []

    async def execute(self, word: str) -> None:
        self.told.append(word)
        if self._obeys:
            self.ended.set_result(None)


@pytest.mark.parametrize(("obeys", "said"), [(True, "no room"), (False, "did not end")])
async def test_a_hanging_group_of_packers_is_ended_before_a_hold(
    obeys: bool, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holding, "GROUP_END_SECONDS", 0)
    told: list[str] = []

    async def made(*_unused: Any) -> None:
        raise OSError("no room")

    monkeypatch.setattr(holding.shell_group, "made", made)
    request = SimpleNamespace(run_id="0123abcd")
    staged: Any = SimpleNamespace(
        request=request, host=SimpleNamespace(store=SimpleNamespace(runs=None)), directory=tmp_path, network=None
    )
    entered: Any = SimpleNamespace(staged=staged)
    group: Any = None
    machine: Any = None
    packers: Any = Packers(obeys=obeys)
    vm: Any = None
    await holding.held(holding.Hold(entered, group, machine, "", 60, told.append), packers, vm)
    assert packers.told == ["quit"]
    assert told == [f"the failed VM could not be held: {told[0].partition('held: ')[2]}"]
    assert said in told[0]


@pytest.mark.parametrize("may_run", [True, False])
async def test_a_vm_that_cannot_be_put_on_disk_is_held_running_by_commands_alone(
    may_run: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, told = [], []

    async def refused(*_unused: Any, **_more: Any) -> None:
        raise NotLeased("no room")

    async def hold_running(*_unused: Any) -> None:
        held.append("running")

    monkeypatch.setattr(holding.sealing, "sealed", refused)
    monkeypatch.setattr(holding, "held", hold_running)
    staged: Any = SimpleNamespace(
        request=SimpleNamespace(run_id="0123abcd", may_hold_running=may_run),
        host=SimpleNamespace(settings=None, store=None),
        network=None,
    )
    entered: Any = SimpleNamespace(staged=staged, namespace=None)
    unused: Any = None
    machine: Any = SimpleNamespace(name="build-vm", architecture="x64", boot=None)
    await holding.leased_or_held(holding.Hold(entered, unused, machine, "", 60, told.append), unused, unused)
    assert held == (["running"] if may_run else [])
    assert len(told) == 1
    assert told[0].endswith(": no room")


class Away:
    """A database that is away."""

    def add_facts(self, *_unused: Any, **_facts: Any) -> None:
        raise DatabaseAway("it is away")

    add_resources = add_facts


@pytest.mark.parametrize("is_made", [True, False])
async def test_a_run_fails_for_its_own_reason_whatever_becomes_of_the_hold(
    is_made: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    async def sealed(*_unused: Any, **_more: Any) -> Any:
        if not is_made:
            raise OSError("the disk is gone")
        return lease.Lease(tmp_path, "0123abcd", time.time(), 1, 2**20, "")

    monkeypatch.setattr(holding.sealing, "sealed", sealed)
    staged: Any = SimpleNamespace(
        request=SimpleNamespace(run_id="0123abcd", may_hold_running=True),
        host=SimpleNamespace(settings=Settings(tmp_path), store=SimpleNamespace(runs=Away(), staging=Away())),
        network=None,
        group=SimpleNamespace(name="group"),
    )
    entered: Any = SimpleNamespace(staged=staged, namespace=None)
    vm: Any = SimpleNamespace(name="build-vm")
    unused: Any = None
    machine: Any = SimpleNamespace(name="build-vm", architecture="x64", boot=None)
    await holding.leased_or_held(holding.Hold(entered, unused, machine, "", 60, told.append), unused, vm)
    assert len(told) == 1
    assert ("is held until" in told[0]) == is_made, "what is there is told, with how it goes"


async def test_a_vm_that_says_what_cannot_be_read_is_held_no_longer() -> None:
    loop = asyncio.get_running_loop()
    unheard, told = loop.create_future(), list[str]()
    unheard.set_result(NotBelieved("it says too much"))

    async def goes_on() -> None:
        await loop.create_future()

    vm: Any = SimpleNamespace(ended=loop.create_future(), unheard=unheard, stopped_by_write_error=goes_on)
    entered: Any = SimpleNamespace(egress_lost=loop.create_future())
    unused: Any = None
    hold = holding.Hold(entered, unused, unused, "", 60, told.append)
    async with asyncio.timeout(30):
        reason = await holding._let_go(hold, vm, asyncio.Event())
    assert reason == "what it says could not be read any more"
