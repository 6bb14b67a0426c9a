"""While Packer waits to log in: what the user is told of a silent console, and when it is enough."""

import asyncio
import functools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from qemu.qmp import EventListener

from vmkiln.fetching.guest_way_out import STRAIGHT_OUT
from vmkiln.host.virtual_machine import VirtualMachine
from vmkiln.packer.step_watch import StepWatch
from vmkiln.run import login_wait, packer_phase, vm_pair
from vmkiln.run.guest import linux_guest
from vmkiln.run.login_wait import LoginWait, console_end, logged_in, silence
from vmkiln.run.packer_phase import ending_told
from vmkiln.run_failures import LoginTimedOut
from vmkiln.secrecy.secret_mask import SecretMask
from vmkiln.staging import output_queue
from vmkiln.staging.customization_log import CustomizationLog
from vmkiln.staging.logs.log_index import LogIndex

BOOT = b"[    0.1] Linux version 6.1\r\n[    1.5] LSM: \x1b[1mSecurity\x1b[0m Framework initializing\r\n\r\n"


def a_vm(name: str, console: bytes = b"") -> VirtualMachine:
    control: Any = None
    loop = asyncio.get_running_loop()
    listeners = EventListener(), EventListener()
    return VirtualMachine(name, loop.create_future(), control, bytearray(console), *listeners, loop.create_future())


def an_instance(*, is_started: bool = True, console: bytes = b"") -> Any:
    started = asyncio.Event()
    if is_started:
        started.set()
    return SimpleNamespace(machine=a_vm("container-build-vm", console), started=started)


async def test_a_silent_console_is_told_with_its_last_line_less_and_less_often() -> None:
    told: list[str] = []
    wait = LoginWait(asyncio.Event(), told.append, limit_seconds=0.75, silence_seconds=0.1)
    with pytest.raises(LoginTimedOut):
        await logged_in(an_instance(), a_vm("build-vm", BOOT), wait)
    line = "[    1.5] LSM: Security Framework initializing"
    assert told[0] == (
        "Packer waits to log in to the build-vm; build-vm has been silent for 0 s: "
        f"the last line of its console is `{line}`"
    )
    assert len(told) == 3, "after 0.1, 0.2 and 0.4 s"


async def test_a_console_that_goes_on_is_not_told_of() -> None:
    told: list[str] = []
    vm = a_vm("build-vm")
    wait = LoginWait(asyncio.Event(), told.append, silence_seconds=0.2)
    waiting = asyncio.create_task(logged_in(an_instance(), vm, wait))
    for number in range(8):
        await asyncio.sleep(0.05)
        vm.console.extend(b"line %d\n" % number)
    wait.is_connected.set()
    await waiting
    assert told == []


async def test_a_login_that_never_comes_is_told_with_the_end_of_the_console() -> None:
    wait = LoginWait(asyncio.Event(), print, limit_seconds=0.1, silence_seconds=0.05)
    with pytest.raises(
        LoginTimedOut, match=r"^Packer could not log in to the build-vm within 0.002 minutes$"
    ) as caught:
        await logged_in(an_instance(), a_vm("build-vm", BOOT), wait)
    assert caught.value.code == "LoginTimeout"
    assert caught.value.hint == (
        "the end of the console of build-vm:\n"
        "[    0.1] Linux version 6.1\n[    1.5] LSM: Security Framework initializing"
    )


async def test_where_customizers_were_at_work_the_cause_may_be_theirs() -> None:
    wait = LoginWait(asyncio.Event(), print, limit_seconds=0.1, silence_seconds=0.05, is_customized=True)
    with pytest.raises(LoginTimedOut, match="did a customizer move or close ssh's port 22"):
        await logged_in(an_instance(), a_vm("validation-vm", BOOT), wait)


async def test_of_a_packer_that_never_starts_the_container_groups_console_is_shown() -> None:
    instance = an_instance(is_started=False, console=b"init: no such disk\n")
    wait = LoginWait(asyncio.Event(), print, limit_seconds=0.1, silence_seconds=0.05)
    with pytest.raises(LoginTimedOut, match="Packer did not start in its container group within") as caught:
        await logged_in(instance, a_vm("build-vm", BOOT), wait)
    assert "the end of the console of container-build-vm:\ninit: no such disk\n" in (caught.value.hint or "")
    assert silence(instance, a_vm("build-vm"), 60) == (
        "Packer has not started yet; container-build-vm has been silent for 60 s: "
        "the last line of its console is `init: no such disk`"
    )


async def test_a_console_without_a_word_is_told_as_such() -> None:
    assert silence(an_instance(), a_vm("build-vm", b"\r\n \x1b[0m\r\n"), 60).endswith("its console has said nothing")
    assert console_end(a_vm("build-vm")) == "the end of the console of build-vm:\n(nothing)"


async def test_what_a_guest_writes_to_its_console_has_no_power_over_the_terminal() -> None:
    vm = a_vm("build-vm", b"\x1b]0;owned\x07 hello \xe2\x80\xae\n")
    assert "\x1b" not in silence(an_instance(), vm, 60) + console_end(vm) + vm.last_console_lines()


@pytest.fixture
def packer_works(monkeypatch: pytest.MonkeyPatch) -> "asyncio.Event":
    """Packer, which ends with 0 when this is set."""
    ends = asyncio.Event()

    async def finished(_instance: object) -> int:
        await ends.wait()
        return 0

    monkeypatch.setattr(vm_pair, "finished", finished)
    return ends


async def packer_done(login: LoginWait) -> int:
    instance, vm = an_instance(), a_vm("build-vm", BOOT)
    lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    steps = StepWatch("build-vm", (), is_connected=login.is_connected)
    log_lost = asyncio.get_running_loop().create_future()
    pair: Any = SimpleNamespace(login=login, log_lost=log_lost, steps=steps, tell=print, keep=None)
    return await vm_pair._noting(instance, vm, vm_pair._packer_done(instance, vm, pair, lost, lambda: False))


async def test_the_run_ends_when_packer_cannot_log_in(packer_works: asyncio.Event) -> None:
    async with asyncio.timeout(5):
        with pytest.raises(LoginTimedOut):
            await packer_done(LoginWait(asyncio.Event(), print, limit_seconds=0.1, silence_seconds=0.05))


async def test_after_the_login_the_limit_counts_no_more(packer_works: asyncio.Event) -> None:
    login = LoginWait(asyncio.Event(), print, limit_seconds=0.1, silence_seconds=0.05)
    login.is_connected.set()
    asyncio.get_running_loop().call_later(0.3, packer_works.set)
    async with asyncio.timeout(5):
        assert await packer_done(login) == 0


async def test_a_build_that_is_interrupted_notes_the_end_of_the_console(packer_works: asyncio.Event) -> None:
    login = LoginWait(asyncio.Event(), print)
    login.is_connected.set()
    with pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(0.1):
            await packer_done(login)
    interrupted: Any = caught.value.__cause__ or caught.value.__context__
    (note,) = interrupted.__notes__
    assert note.startswith("the end of the console of build-vm:\n")
    assert "LSM: Security Framework initializing" in note


@pytest.mark.parametrize("is_limit", [True, False])
async def test_the_log_has_the_console_too_without_secrets(
    packer_works: asyncio.Event, tmp_path: Path, is_limit: bool
) -> None:
    login = LoginWait(asyncio.Event(), print, limit_seconds=0.1 if is_limit else 60, silence_seconds=0.05)

    async def phase() -> None:
        path = tmp_path / "customization.log"
        with CustomizationLog(path, "run") as log, LogIndex(path) as index:
            async with output_queue.opened(functools.partial(packer_phase._write, log, index, []), print) as queue:
                with ending_told(queue, SecretMask.of(["version 6.1"])):
                    await packer_done(login)

    with pytest.raises((LoginTimedOut, TimeoutError)) as caught:
        await asyncio.wait_for(phase(), 5 if is_limit else 0.1)
    assert "version 6.1" not in str(getattr(caught.value, "hint", "")), "it is shown beyond the log"
    text = (tmp_path / "customization.log").read_text()
    assert "LSM: Security Framework initializing" in text
    assert "version 6.1" not in text
    assert ("Packer could not log in to the build-vm" in text) == is_limit


def test_a_login_has_as_long_as_on_azure_and_packer_gives_up_later() -> None:
    assert (login_wait.LOGIN_SECONDS, login_wait.SILENCE_SECONDS) == (20 * 60, 60)
    template = SimpleNamespace(build_timeout_seconds=240 * 60)
    staged: Any = SimpleNamespace(request=SimpleNamespace(template=template), way_out=STRAIGHT_OUT)
    assert linux_guest.connection(staged, "key").timeout_seconds == 21 * 60
    template.build_timeout_seconds = 300
    assert linux_guest.connection(staged, "key").timeout_seconds == 300
