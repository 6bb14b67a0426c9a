"""`vmkiln run shell` and `release`: the failed VM of a run that is held, entered by its user or let go.

Most lie on disk, and are woken for a visit; one that could not be put there goes on running in the run that failed.
"""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from vmkiln.audit.act_names import RUN_RELEASE, run_id_of
from vmkiln.cli.audited import audited
from vmkiln.cli.commands.runs.other_host import LOGIN, held_elsewhere, lies_elsewhere, name_of
from vmkiln.cli.completing import NamedRunArgument
from vmkiln.cli.invocation import read_settings
from vmkiln.cli.manual.examples import examples
from vmkiln.cli.output import say, told_done
from vmkiln.cli.template_options import JsonOption

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from vmkiln.cli.contexts import Context
    from vmkiln.settings import Settings
    from vmkiln.store.database import Store
    from vmkiln.store.rows import RunRow

CommandArgument = Annotated[
    list[str] | None, typer.Argument(help="A command to run there, in place of a shell.", metavar="COMMAND")
]
# nothing of this machine goes along: no agent, no forwarded port, no setting of the user's
REFUSED = (
    "BatchMode=yes", "ClearAllForwardings=yes", "ForwardAgent=no", "ForwardX11=no", "IdentitiesOnly=yes",
    "IdentityAgent=none", "PermitLocalCommand=no", "UpdateHostKeys=no", "LogLevel=ERROR",
    # the way leads to this one VM and nowhere else, whatever a customizer made of its host key
    "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "GlobalKnownHostsFile=/dev/null",
)  # fmt: skip
HOST = "held-vm"
# one that was woken has the time of its failure; only its hardware clock went on
CATCH_UP = 'sudo -n date -s "@$(cat /sys/class/rtc/rtc0/since_epoch)" > /dev/null 2>&1; '
LOGIN_SHELL = 'exec "$SHELL" -l'
ENDING_SECONDS = 120  # for the end of the run whose VM it is, or of a visit
LOOK_SECONDS = 0.1


@examples("vmkiln run shell 0123abcd", "vmkiln run shell 0123abcd journalctl -b")
def shell(run_id: NamedRunArgument, command: CommandArgument = None) -> None:
    """Enter the failed VM of a run that is held (`vmkiln build --on-error hold`); one shell at a time.

    It is woken for that, and put on disk again behind it, as it is then. Who is logged in to a service (`vmkiln login`)
    needs its leave for a run of an image template: the action Vmkiln.Builds/runs/shell/action. It is recorded there.
    A VM that another host holds is entered through that service, to which its host dials out.
    """
    import asyncio

    from vmkiln.cli.commands.runs.leave import take_leave
    from vmkiln.cli.interrupts import Parting, run_to_end
    from vmkiln.preparation import opened_store

    settings = read_settings()
    if (service := _service_of_others(settings, run_id)) is not None:
        # also when the terminal is closed: the key of this visit does not stay behind
        if status := run_to_end(_elsewhere(settings, service, run_id, command or ()), parting=Parting("")):
            raise typer.Exit(status)
        return
    with opened_store(settings, say) as store:
        run = store.runs.find(run_id)
        folder = None if _is_on_disk(settings, store, run) else _folder(settings, run)
        take_leave(store, run)
        if folder is None:
            status = asyncio.run(_woken(settings, store, run.run_id, command or ()))
    if folder is not None:
        status = asyncio.run(_entered(folder, command or ()))
    if status:
        raise typer.Exit(status)


def _service_of_others(settings: Settings, run_id: str) -> Context | None:
    """The service that its user is logged in to, when it has the run and this host has not its VM; else none."""
    import os

    from vmkiln.cli.contexts import contexts_file, read_contexts
    from vmkiln.cli.template_options import opened_if_there
    from vmkiln.errors import InputError

    context = read_contexts(contexts_file(os.environ)).in_use
    if context is None:
        return None
    with opened_if_there(settings) as store:
        try:
            run = None if store is None else store.runs.find(run_id)
        except InputError:
            return context
    return context if run is None or (run.facts.get("lease") and held_elsewhere(settings, run)) else None


async def _elsewhere(settings: Settings, service: Context, run_id: str, words: Sequence[str]) -> int:
    """Run ssh in a VM that another host wakes for it. Raises: as `through_service`."""
    from vmkiln.cli.commands.runs.entering import through_service

    async def enter(folder: Path) -> int:
        return await _entered(folder, words, was_woken=True)

    return await through_service(service, run_id.lower(), settings.home / "visits", enter)


@examples("vmkiln run release 0123abcd")
def release(run_id: NamedRunArgument, as_json: JsonOption = False) -> None:
    """Let the failed VM of a run go before its time is over, and delete what is kept of it.

    One that another host holds is deleted by that, with its next clean-up; whoever is in it is out then.
    """
    from vmkiln.cli.view.long_work import long_work
    from vmkiln.preparation import opened_store
    from vmkiln.run.held import lease
    from vmkiln.run.held.door import RELEASE, knock

    settings = read_settings()
    with opened_store(settings, say) as store:
        run = store.runs.find(run_id)
        on_disk = run.facts.get("lease") is not None and not lease.found(settings, run.run_id)
        host = held_elsewhere(settings, run) if on_disk else ""
        folder = None if host or _is_on_disk(settings, store, run) else _folder(settings, run)
        said, where = f"run {run.run_id[:8]}: released", name_of(store, host) if host else ""
        about = run_id_of(run.resource_group, run.template_name, run.run_id, kept=run.template_id)
        with audited(store, RUN_RELEASE, about):
            if host:
                said = _released_elsewhere(store, run, host, where)
            elif folder is not None:
                knock(folder, RELEASE).close()
            else:
                with long_work(f"waiting until nobody is in the failed VM of run {run.run_id[:8]}"):
                    _delete(settings, store, run.run_id)
    told_done(said, {"released": run.run_id, "deleted": not host, "host": where or None}, as_json=as_json)


def _is_on_disk(settings: Settings, store: Store, run: RunRow) -> bool:
    """Whether a run's failed VM lies on this host's disk. Raises: `InputError` when it is another's."""
    from vmkiln.run.held import lease

    if lease.found(settings, run.run_id) is not None:
        return True
    if host := held_elsewhere(settings, run):
        more = LOGIN if run.facts.get("lease") else ""  # one that runs is entered where it does
        raise lies_elsewhere(store, f"the failed VM of run {run.run_id[:8]}", host, more=more)
    return False


def _released_elsewhere(store: Store, run: RunRow, host: str, name: str) -> str:
    """Ask another host to delete the failed VM that it holds; gives what is to be said of when it does.

    Raises: as `ask_release`.
    """
    from vmkiln.run.held.releasing import ask_release

    ask_release(store, run)
    is_live = host in {row.host_id for row in store.hosts.live()}
    when = "within a minute or two" if is_live else "when it is at work again"
    return f"run {run.run_id[:8]}: released; its host, {name}, deletes it {when}"


def _delete(settings: Settings, store: Store, run_id: str) -> None:
    """Delete a VM that lies on disk; one that somebody is in ends. Raises: `InputError` when it does not."""
    from time import monotonic, sleep

    from vmkiln.errors import InputError
    from vmkiln.run.held import lease
    from vmkiln.run.held.door import RELEASE, is_held, knock
    from vmkiln.staging import run_directory

    deadline, woken = monotonic() + ENDING_SECONDS, run_directory.folder_of_woken(settings.runs, run_id)
    while monotonic() < deadline:
        with run_directory.locked_if_free(settings.runs, run_id) as is_ours:
            if is_ours:
                lease.forget(settings, store, run_id)
                return
        if is_held(woken):
            with contextlib.suppress(InputError):  # it ended just now
                knock(woken, RELEASE).close()
        sleep(LOOK_SECONDS)
    raise InputError(f"the run {run_id[:8]} goes on, and so its failed VM is not deleted", hint="try again later")


async def _woken(settings: Settings, store: Store, run_id: str, words: Sequence[str]) -> int:
    """Run ssh in a VM that is woken for it. Raises: `InputError` when somebody is in, or the run goes on."""
    from vmkiln.preparation import visited_host
    from vmkiln.run.held.shell_group import ENTERED, LEFT
    from vmkiln.run.held.waking import run_ended, visited

    await run_ended(settings, run_id)
    told: list[str] = []
    async with visited_host(settings, store) as host:
        status = await visited(host, run_id, lambda folder: _entered(folder, words, was_woken=True), told.append)
    for text in told:
        if text not in {ENTERED, LEFT}:
            say(text)
    return 1 if status is None else status


def _folder(settings: Settings, run: RunRow) -> Path:
    """The folder of a held run. Raises: `InputError` when it is not held."""
    from vmkiln.run.held.door import is_held, not_held
    from vmkiln.staging import run_directory

    folder = run_directory.folder_of(settings.runs, run.run_id, attempt=run.facts.get("attempt", 1))
    if not run_directory.is_live(settings.runs, run.run_id) or not is_held(folder):
        raise not_held(run.run_id)
    return folder


async def _entered(folder: Path, words: Sequence[str], *, was_woken: bool = False) -> int:
    """Run ssh on this terminal until it ends; gives its exit status. Raises: `HostUnfit` without ssh."""
    from vmkiln.host import command

    wants_terminal = sys.stdin.isatty() and not words
    if was_woken:
        words = [CATCH_UP + (" ".join(words) or LOGIN_SHELL)]
    arguments = ssh_arguments(folder, words, wants_terminal=wants_terminal)
    with terminal_as_it_was():
        async with command.start(arguments, stdin=None, stdout=None, stderr=None, new_session=False) as process:
            return await process.wait()


@contextlib.contextmanager
def terminal_as_it_was() -> Iterator[None]:
    """This terminal has the modes behind the block that it had before: an ssh that is killed leaves its own."""
    import termios

    if not sys.stdin.isatty():
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    try:
        yield
    finally:
        with contextlib.suppress(termios.error):  # it was closed
            if termios.tcgetattr(sys.stdin) != before:  # or who runs in the background would be stopped by that
                termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def ssh_arguments(folder: Path, words: Sequence[str], *, wants_terminal: bool) -> list[str]:
    """How ssh enters the held VM of the run with this folder; pure."""
    from shlex import quote

    from vmkiln.run.held.door import KEY
    from vmkiln.staging.cloud_init_seed import USER

    # ssh replaces %-signs in this text, and has a shell run it
    way = f"{quote(sys.executable)} -P -m vmkiln.run.held.visitor {quote(str(folder))}".replace("%", "%%")
    options = [text for option in (*REFUSED, f"ProxyCommand={way}") for text in ("-o", option)]
    key = str(folder / KEY).replace("%", "%%")
    terminal = "-tt" if wants_terminal else "-T"
    # after `--` a command that begins with a dash is no option of ssh's
    return ["ssh", "-F", "none", "-i", key, terminal, *options, "--", f"{USER}@{HOST}", *words]
