"""The time until Packer has logged in to a VM: what the VM's console says meanwhile, and a limit of its own.

It begins anew when the VM restarts. A guest that hangs while it boots is silent for ever. The user then sees what it
said last, and the run ends long before `buildTimeoutInMinutes`, which is for the customizers.
Source of the limit: the customization.log of Azure Image Builder ("Waiting for SSH ... up to timeout: 20m0s").
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from vmkiln.host.virtual_machine import VirtualMachine
from vmkiln.run_failures import LoginTimedOut
from vmkiln.staging.container_group import ContainerInstance

LOGIN_SECONDS = 20 * 60
SILENCE_SECONDS = 60
LOOK_SECONDS = 1.0
CONSOLE_LINES = 20
LONGEST_LINE = 200
SSH_QUESTION = "did a customizer move or close ssh's port 22, or change who may log in?"


@dataclass(frozen=True)
class LoginWait:
    """What is waited for: `is_connected` is set when Packer has logged in; `tell` gets a sentence for the user.

    `is_customized` says that the VM's disk went through customizers; then the user is asked the `question`.
    `restart_seconds` is the limit after a restart, where it is another one.
    """

    is_connected: asyncio.Event
    tell: Callable[[str], None]
    limit_seconds: float = LOGIN_SECONDS
    silence_seconds: float = SILENCE_SECONDS
    is_customized: bool = False
    question: str = SSH_QUESTION
    restart_seconds: float | None = None


async def logged_in(
    instance: ContainerInstance, vm: VirtualMachine, wait: LoginWait, *, is_again: bool = False
) -> None:
    """Return when Packer has logged in; `is_again` after a restart.

    After each while of silence the console's last line is told. The while doubles with each time, until the console
    says something new.

    Raises: `LoginTimedOut` at the limit, with the end of the console.
    """
    loop = asyncio.get_running_loop()
    began = changed = loop.time()
    patience, seen = wait.silence_seconds, _Seen.of(instance, vm)
    limit = wait.limit_seconds if wait.restart_seconds is None or not is_again else wait.restart_seconds
    while not wait.is_connected.is_set():
        try:
            async with asyncio.timeout(min(LOOK_SECONDS, wait.silence_seconds)):
                await wait.is_connected.wait()
        except TimeoutError:
            now = loop.time()
            if now - began >= limit:
                raise _timed_out(instance, vm, wait, limit, is_again=is_again) from None
            if (latest := _Seen.of(instance, vm)) != seen:
                seen, changed, patience = latest, now, wait.silence_seconds
            elif now - changed >= patience:
                wait.tell(silence(instance, vm, round(now - changed)))
                patience *= 2


@dataclass(frozen=True)
class _Seen:
    """What the two VMs have said so far, and whether Packer runs."""

    vm: bytes
    container_group: bytes
    is_started: bool

    @classmethod
    def of(cls, instance: ContainerInstance, vm: VirtualMachine) -> "_Seen":
        return cls(bytes(vm.console), bytes(instance.machine.console), instance.started.is_set())


def silence(instance: ContainerInstance, vm: VirtualMachine, seconds: int) -> str:
    """What is waited for, for the user; with the last line of the console of the VM that keeps the others waiting."""
    machine = vm if instance.started.is_set() else instance.machine
    waiting = f"Packer waits to log in to the {vm.name}" if machine is vm else "Packer has not started yet"
    line = machine.last_console_lines(1).strip()[:LONGEST_LINE]
    said = f"the last line of its console is `{line}`" if line else "its console has said nothing"
    return f"{waiting}; {machine.name} has been silent for {seconds} s: {said}"


def console_end(vm: VirtualMachine) -> str:
    """The end of a VM's console, for a hint."""
    return f"the end of the console of {vm.name}:\n" + (vm.last_console_lines(CONSOLE_LINES) or "(nothing)")


def console_ends(instance: ContainerInstance, vm: VirtualMachine) -> str:
    """The consoles that a time-out has to show: the VM's, and the container group's while Packer does not run."""
    return console_end(vm) if instance.started.is_set() else f"{console_end(instance.machine)}\n{console_end(vm)}"


def _timed_out(
    instance: ContainerInstance, vm: VirtualMachine, wait: LoginWait, limit_seconds: float, *, is_again: bool
) -> LoginTimedOut:
    limit = f"{round(limit_seconds / 60, 3):g} minutes"
    if instance.started.is_set():
        text = f"Packer could not log in to the {vm.name} within {limit}{' of its restart' if is_again else ''}"
        if is_again or wait.is_customized:
            text += f"; {wait.question}"
    else:
        text = f"Packer did not start in its container group within {limit}"
    return LoginTimedOut(text, hint=console_ends(instance, vm))
