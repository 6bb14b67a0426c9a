"""Where Packer is among a phase's steps, and whether the VM stayed up under each of them.

A step may restart the VM: as the last thing that its script does, or in its midst where the script itself says so. A
script that a restart cut short without having asked for it is not done, and the build ends with its name.
Source: what users of Azure's image builder and of Packer do for new kernels and drivers.
"""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from vmkiln.packer.packer_output import (
    BuildError,
    CheckpointReached,
    Connected,
    PackerEvent,
    RestartBegun,
    RestartComing,
    RestartDone,
    ScriptEnded,
    ScriptLost,
    ScriptStarted,
    StepReached,
)
from vmkiln.packer.packer_template import InlineShell, ScriptShell, Step, checkpoint_of
from vmkiln.windows.steps import (
    ROUND_RESTART_SECONDS,
    PowerShell,
    Restart,
    Update,
    WindowsDeprovision,
    WindowsFile,
    WindowsStep,
)

RESTART_GRACE_SECONDS = 120
MOST_READ_BYTES = 1024 * 1024
MOST_CHECKPOINTS = 100  # that wait to be kept; one at a time does
_RESTART = re.compile(
    rb"\b(reboot|shutdown|poweroff|halt|kexec|telinit|init\s+6|sysrq-trigger|LoginManager\.Reboot)\b|\bcontrol-alt-del"
)
_INTERRUPTED = (
    "the {vm} restarted while its script ran, which does not ask for that: an earlier step may have, in the "
    "background; let a step that restarts the VM end with the restart"
)
_UNBEGUN = "the {vm} restarted before its script began: an earlier step may have asked for that, in the background"
_CUT = "the {vm} restarted during {place}, so nobody knows how that ended: let a WindowsRestart step restart it"
_NOT_RESTARTED = "{place} did not restart the {vm}: its command came to its end, and no restart was seen"
_TOO_LONG = (
    "{place} is not over after {seconds} s: the {vm} went down too late, or did not come back in its restartTimeout"
)
_DISCONNECTED = "the connection to the {vm} broke while its script ran: did it restart ssh, or change the network?"


def asking_for_restart(steps: Sequence[Step | WindowsStep]) -> frozenset[int]:
    """The numbers of the steps whose script has a word for a restart; reads the scripts' copies."""
    return frozenset(index for index, step in enumerate(steps) if _RESTART.search(_text(step)))


def _text(step: Step | WindowsStep) -> bytes:
    match step:
        case InlineShell(lines=lines):
            return "\n".join(lines).encode(errors="surrogateescape")
        case ScriptShell(source=source):
            with source.open("rb") as file:
                return file.read(MOST_READ_BYTES)
        case _:
            return b""


@dataclass
class StepWatch:
    """What is known of the steps; `note` and `restarted` return sentences for the user.

    `broken` ends with what is wrong with step number `step`, when its script did not come to its end; `untrue` when
    steps are told that cannot be: Packer begins each once, in their order.
    """

    vm_name: str
    steps: Sequence[Step | WindowsStep]
    may_restart: frozenset[int] = frozenset()
    step: int = -1
    error: str = ""
    status: int | None = None  # of the last script that ended
    is_connected: asyncio.Event = field(default_factory=asyncio.Event)
    is_complete: asyncio.Event = field(default_factory=asyncio.Event)  # the last step began, and each before it
    untrue: "asyncio.Future[str]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    broken: "asyncio.Future[str]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    # behind scripts that succeeded, each with the name under which the VM waits there
    checkpoints: "asyncio.Queue[tuple[int, str]]" = field(default_factory=lambda: asyncio.Queue(MOST_CHECKPOINTS))
    _boot_id: str = ""
    _running: int | None = None
    _restarted: set[int] = field(default_factory=set)
    _rounds: int = 0  # of the updates of the current step, each with a restart
    _limit: "asyncio.TimerHandle | None" = None

    def __post_init__(self) -> None:
        if not self.steps:
            self.is_complete.set()

    @property
    def is_at_last_step(self) -> bool:
        """Whether the last step began: from then on the VM may power itself off."""
        return self.step == len(self.steps) - 1

    @property
    def current(self) -> Step | WindowsStep | None:
        """The step that Packer is at."""
        return self.steps[self.step] if 0 <= self.step < len(self.steps) else None

    def note(self, event: PackerEvent) -> list[str]:
        """Take in what Packer's output tells; nothing more once a step is broken."""
        if self.broken.done():
            return []
        match event:
            case Connected():
                self.is_connected.set()
            case StepReached(index):
                self._reached(index)
            case ScriptStarted(boot_id):
                return self._started(boot_id)
            case ScriptEnded(status):
                self._running, self.status = None, status
            case CheckpointReached(name):
                checkpoint = checkpoint_of(self.current)
                if self.status == 0 and checkpoint is not None and not self.checkpoints.full():
                    self.checkpoints.put_nowait((checkpoint.number, name))
            case ScriptLost():
                self._break(self.step, _UNBEGUN)
            case RestartBegun():
                self._restart_begun()
            case RestartDone():
                self._restart_done()
            case RestartComing():
                return [f"{self.place} restarts the {self.vm_name}, or turns it off; waiting for that"]
            case BuildError(text, has_reason):
                self.error = text if has_reason else self.error or text
        return []

    def never_ready(self, reason: str) -> None:
        """The VM will not get to where Packer can log in, or go on."""
        self._break(self.step, reason)

    def restarted(self) -> list[str]:
        """The VM was reset: it has to boot, and Packer to log in again."""
        self._restarted.add(self.step)
        self.is_connected.clear()
        if isinstance(self.current, PowerShell | WindowsFile | WindowsDeprovision):
            # Packer may ask the VM for the output of a command of before without an end, or take it for done
            self._break(self.step, _CUT.format(place=self.place, vm=self.vm_name))
        return [f"the {self.vm_name} restarts during {self.place}; waiting until Packer can log in again"]

    def ended(self, exit_status: int) -> int:
        """The exit status of Packer's work, from Packer's own: content with nothing that was not done."""
        self._end_limit()
        if exit_status == 0 and self._running is not None:
            if self._running not in self._restarted:
                self._break(self._running, _DISCONNECTED)
            elif self._running not in self.may_restart:
                self._break(self._running, _INTERRUPTED)
        if self.broken.done():
            return exit_status or 1
        if exit_status and self.step in self._restarted and not isinstance(self.current, Restart | Update):
            self.error = f"{self.error.rstrip('.')}; the {self.vm_name} restarted during this step"
        return exit_status

    def _reached(self, index: int) -> None:
        if index not in {self.step, self.step + 1} or index >= len(self.steps):  # once more: Packer tries again
            if not self.untrue.done():
                self.untrue.set_result(f"step {index + 1} of {len(self.steps)} is told after step {self.step + 1}")
            return
        self._end_limit()
        self._rounds = self._rounds if index == self.step else 0
        self.step = index
        self.is_connected.set()
        if self.is_at_last_step:
            self.is_complete.set()

    def _started(self, boot_id: str) -> list[str]:
        said = []
        if self._running is not None and boot_id == self._boot_id:
            self._break(self._running, _DISCONNECTED)
        elif self._running is not None and self._running not in self.may_restart:
            self._break(self._running, _INTERRUPTED)
        elif self._boot_id and boot_id != self._boot_id:
            said.append(f"the {self.vm_name} is back after its restart")
        self._boot_id, self._running = boot_id, self.step
        self.is_connected.set()
        return said

    def _restart_begun(self) -> None:
        """Packer names no file for a restart: one follows each round of updates, any other is the next step."""
        if isinstance(self.current, Update) and self._rounds < self.current.rounds:
            self._rounds += 1
            self._begin_limit(ROUND_RESTART_SECONDS)
            return
        following = self.steps[self.step + 1] if self.step + 1 < len(self.steps) else None
        if isinstance(following, Restart):
            self._reached(self.step + 1)
        if isinstance(self.current, Restart):
            self._begin_limit(self.current.timeout_seconds)

    def _begin_limit(self, timeout_seconds: int) -> None:
        """Packer asks without an end whether a shutdown is still in progress."""
        self._end_limit()
        seconds = timeout_seconds + RESTART_GRACE_SECONDS
        text = _TOO_LONG.format(place=self.place, vm=self.vm_name, seconds=seconds)
        self._limit = asyncio.get_running_loop().call_later(seconds, self._break, self.step, text)

    def _restart_done(self) -> None:
        self._end_limit()
        if isinstance(self.current, Restart) and self.step not in self._restarted:
            self._break(self.step, _NOT_RESTARTED.format(place=self.place, vm=self.vm_name))

    def _end_limit(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None

    def _break(self, step: int, text: str) -> None:
        if not self.broken.done():
            self.step, self.error = step, text.replace("{vm}", self.vm_name)
            self.broken.set_result(self.error)

    @property
    def place(self) -> str:
        """The step by its name, for a sentence."""
        return f"`{self.current.name}`" if self.current else "its boot"
