"""A failed VM is held only where a visitor finds Packer's place in the network free."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vmkiln.packer.packer_template import PackerInput
from vmkiln.run.held import holding


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
    monkeypatch.setattr(holding.shell_group, "shell_input", lambda _network: None)
    told: list[str] = []

    async def make_input(_path: Path, _content: PackerInput) -> None:
        raise OSError("no room")

    request = SimpleNamespace(run_id="0123abcd")
    staged: Any = SimpleNamespace(
        request=request, host=SimpleNamespace(store=SimpleNamespace(runs=None)), directory=tmp_path, network=None
    )
    entered: Any = SimpleNamespace(staged=staged)
    group: Any = None
    packers: Any = Packers(obeys=obeys)
    vm: Any = None
    await holding.held(holding.Hold(entered, group, "", 60, make_input, told.append), packers, vm)
    assert packers.told == ["quit"]
    assert told == [f"the failed VM could not be held: {told[0].partition('held: ')[2]}"]
    assert said in told[0]
