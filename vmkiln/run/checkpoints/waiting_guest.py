"""The guest of a VM that waits at a checkpoint: under which name, and the word that lets it go on.

It draws a name each time and says it on its console. That Packer is at a checkpoint comes from Packer, by another way,
so either may come first.
"""

import asyncio
import re
import time
from dataclasses import dataclass, field
from pathlib import Path

from vmkiln.errors import VmkilnError
from vmkiln.host.virtual_machine import VirtualMachine
from vmkiln.waiting.off_loop import off_loop
from vmkiln.warm.checkpoint_step import write_word
from vmkiln.warm.saved_base import SAYS

READY_SECONDS = 180  # measured: 2 s under emulation
LATE_SECONDS = 30  # after which a guest goes on that waits where nobody awaits it
LOOK_SECONDS, LATE_LOOK_SECONDS = 0.02, 1.0
_SAID = re.compile(rf"{SAYS} (ready|skipped) ([0-9a-f]{{16}})(?:: ([^\r\n]*))?[\r\n]")


class NotKept(VmkilnError):
    """Why the VM is not kept at this checkpoint; the build goes on."""

    code = "NotKept"


@dataclass
class WaitingGuest:
    """What a VM's guest says of checkpoints, and which of its names were answered; `token` is this run's."""

    vm: VirtualMachine
    seed: Path
    token: str = field(repr=False)
    _answered: set[str] = field(default_factory=set)
    _seen: dict[str, float] = field(default_factory=dict)

    async def reached(self, numbers: "asyncio.Queue[int]") -> int:
        """The number of the next checkpoint that Packer reaches; who waits for long without that goes on."""
        while True:
            try:
                return await asyncio.wait_for(numbers.get(), LATE_LOOK_SECONDS)
            except TimeoutError:
                await self._let_late_ones_go()

    async def name(self, numbers: "asyncio.Queue[int]") -> str:
        """The name under which it waits at the checkpoint that was reached.

        Raises: `NotKept` with why it does not wait, or when Packer is at a later one; `TimeoutError`.
        """
        async with asyncio.timeout(READY_SECONDS):
            while not self.vm.ended.done():
                for word, name, reason in self._unanswered():
                    if word == "ready":
                        return name
                    self._answered.add(name)
                    raise NotKept(reason[:300] or "it cannot be done in it")
                if not numbers.empty():
                    raise NotKept("its program did not begin")
                await asyncio.sleep(LOOK_SECONDS)
        raise NotKept("it has ended")

    async def go_on(self, name: str) -> None:
        """Let the guest that waits under this name go on. Raises: `OSError`."""
        self._answered.add(name)
        await off_loop(write_word, self.seed, self.token, name)

    def _unanswered(self) -> list[tuple[str, str, str]]:
        console = bytes(self.vm.console).decode(errors="replace")
        return [found for found in _SAID.findall(console) if found[1] not in self._answered]

    async def _let_late_ones_go(self) -> None:
        now = time.monotonic()
        for word, name, _ in self._unanswered():
            if word == "ready" and now - self._seen.setdefault(name, now) >= LATE_SECONDS:
                await self.go_on(name)
