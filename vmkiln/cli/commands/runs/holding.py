"""`vmkiln run shell` and `release`: the failed VM of a run that is held, entered by its user or let go."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from vmkiln.audit.act_names import RUN_RELEASE, RUN_SHELL, run_id_of
from vmkiln.cli.audited import audited
from vmkiln.cli.completing import NamedRunArgument
from vmkiln.cli.invocation import read_settings
from vmkiln.cli.manual.examples import examples
from vmkiln.cli.output import say

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from vmkiln.settings import Settings
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


@examples("vmkiln run shell 0123abcd", "vmkiln run shell 0123abcd journalctl -b")
def shell(run_id: NamedRunArgument, command: CommandArgument = None) -> None:
    """Enter the failed VM of a run that is held (`vmkiln build --on-error hold`); one shell at a time."""
    import asyncio

    from vmkiln.preparation import opened_store

    settings = read_settings()
    with opened_store(settings, say) as store:
        run = store.runs.find(run_id)
        folder = _folder(settings, run)
        with audited(store, RUN_SHELL, run_id_of(run.resource_group, run.template_name, run.run_id)):
            pass
    status = asyncio.run(_entered(folder, command or ()))
    if status:
        raise typer.Exit(status)


@examples("vmkiln run release 0123abcd")
def release(run_id: NamedRunArgument) -> None:
    """Let the failed VM of a run go before its time is over; the run ends then."""
    from vmkiln.preparation import opened_store
    from vmkiln.run.held.door import RELEASE, knock

    settings = read_settings()
    with opened_store(settings, say) as store:
        run = store.runs.find(run_id)
        folder = _folder(settings, run)
        with audited(store, RUN_RELEASE, run_id_of(run.resource_group, run.template_name, run.run_id)):
            knock(folder, RELEASE).close()
    say(f"run {run.run_id[:8]}: released")


def _folder(settings: Settings, run: RunRow) -> Path:
    """The folder of a held run. Raises: `InputError` when it is not held."""
    from vmkiln.run.held.door import is_held, not_held
    from vmkiln.staging import run_directory

    folder = run_directory.folder_of(settings.runs, run.run_id, attempt=run.facts.get("attempt", 1))
    if not run_directory.is_live(settings.runs, run.run_id) or not is_held(folder):
        raise not_held(run.run_id)
    return folder


async def _entered(folder: Path, words: Sequence[str]) -> int:
    """Run ssh on this terminal until it ends; gives its exit status. Raises: `HostUnfit` without ssh."""
    from vmkiln.host import command

    arguments = ssh_arguments(folder, words, wants_terminal=sys.stdin.isatty() and not words)
    async with command.start(arguments, stdin=None, stdout=None, stderr=None, new_session=False) as process:
        return await process.wait()


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
