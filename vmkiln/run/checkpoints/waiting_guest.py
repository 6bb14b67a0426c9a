"""The guest of a VM that waits at a checkpoint: under which name, and the word that lets it go on.

It says on its console under which name, which is drawn for each time. Which checkpoint that is comes from Packer, with
the name, by another way, so either may come first; and what a later step's says is never taken for an earlier one's.
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

    async def reached(self, checkpoints: "asyncio.Queue[tuple[int, str]]") -> tuple[int, str]:
        """The number of the next checkpoint that Packer reaches, and the name; who waits long without that goes on."""
        while True:
            try:
                return await asyncio.wait_for(checkpoints.get(), LATE_LOOK_SECONDS)
            except TimeoutError:
                await self._let_late_ones_go()

    async def waits(self, name: str, checkpoints: "asyncio.Queue[tuple[int, str]]") -> None:
        """Return when it waits under this name.

        Raises: `NotKept` with why it does not wait, or when Packer is at a later checkpoint; `TimeoutError`.
        """
        async with asyncio.timeout(READY_SECONDS):
            while not self.vm.ended.done():
                if name in self._answered:
                    raise NotKept("it had waited too long")
                for word, said, reason in self._unanswered():
                    if said == name and word == "ready":
                        return
                    if said == name:
                        raise NotKept(reason[:300] or "it cannot be done in it")
                if not checkpoints.empty():
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
        waiting = [name for word, name, _ in self._unanswered() if word == "ready"]
        self._seen = {name: self._seen.get(name, now) for name in waiting}  # a guest may say names without an end
        for name, since in self._seen.items():
            if now - since >= LATE_SECONDS:
                await self.go_on(name)
