"""`vmkiln database move`: from the SQLite file of one machine to the PostgreSQL of a fleet."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from vmkiln.audit.act_names import DATABASE_ID, DATABASE_MOVE
from vmkiln.cli.audited import audited
from vmkiln.cli.commands.worker import has_password
from vmkiln.cli.invocation import read_settings
from vmkiln.cli.manual.examples import examples
from vmkiln.cli.output import answer, say
from vmkiln.cli.template_options import JsonOption
from vmkiln.errors import InputError

if TYPE_CHECKING:
    from vmkiln.settings import Settings
    from vmkiln.store.moving.move import Moved

app = typer.Typer(no_args_is_help=True, help="The database: from this machine's SQLite file to PostgreSQL.")


@app.callback()
def database() -> None:
    """The database: from this machine's SQLite file to PostgreSQL."""


@app.command()
@examples("vmkiln database move --to postgresql://vmkiln@db.example.org/vmkiln --dry-run")
def move(
    to: Annotated[
        str,
        typer.Option(
            metavar="URL",
            help="postgresql://USER@HOST/DATABASE, an empty one; its password in ~/.pgpass or $PGPASSWORD.",
        ),
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only tell what would be moved; a service may be up.")
    ] = False,
    undo: Annotated[
        bool, typer.Option("--undo", help="Use the SQLite file again; what came after the move is not in it.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Move all records to PostgreSQL, each compared; the file is kept and marked, so that nothing writes to it."""
    settings = replace(read_settings(), database_url="")
    if not settings.database.is_file():
        raise InputError(f"there is no database {settings.database}", hint="VMKILN_HOME says where the state is")
    if undo:
        if to or dry_run:
            raise InputError("--undo goes alone")
        _undo(settings)
        return
    _check(to)
    from vmkiln.store.engine import shown_address

    found = _would_move(settings, to) if dry_run else _moved(settings, to)
    address = shown_address(to)
    if as_json:
        rows = {name.removeprefix("vmkiln_"): count for name, count in sorted(found.rows.items())}
        told = {"from": str(settings.database), "to": address, "isDryRun": dry_run, "wasThere": found.was_there}
        answer({**told, "count": found.count, "changedTexts": found.changed_texts, "rows": rows})
        return
    for name, count in sorted(found.rows.items()):
        if count:
            typer.echo(f"{name.removeprefix('vmkiln_'):<20} {count:>9}")
    verb = "would be moved" if dry_run else "were there already" if found.was_there else "are moved"
    typer.echo(f"{found.count} rows {verb} to {address}")
    if found.changed_texts:
        typer.echo(f"{found.changed_texts} texts have a character that PostgreSQL cannot keep; U+FFFD stands for it")
    if not dry_run:
        say("set VMKILN_DATABASE_URL to it for the service and every command (docs/fleet.md has the rest)")


def _check(url: str) -> None:
    if urlsplit(url).scheme not in {"postgresql", "postgres"}:
        raise InputError("--to is not the URL of a PostgreSQL database", hint="postgresql://USER@HOST/DATABASE")
    if has_password(url):
        raise InputError(
            "--to has a password, and every user of this machine could read it in the process list",
            hint="leave it out of the URL: ~/.pgpass has it, or PGPASSWORD in the environment",
        )


def _would_move(settings: Settings, to: str) -> Moved:
    import contextlib

    from vmkiln.store.database import utc_now
    from vmkiln.store.engine import connected
    from vmkiln.store.moving.move import would_move

    with (
        contextlib.closing(connected(settings.database, utc_now)) as source,
        contextlib.closing(connected(to, utc_now)) as target,
    ):
        return would_move(source, target)


def _moved(settings: Settings, to: str) -> Moved:
    from vmkiln.cli.view.long_work import long_work
    from vmkiln.preparation import opened_store
    from vmkiln.service import Occupant, only_service
    from vmkiln.staging.run_directory import live_runs
    from vmkiln.store import database as databases
    from vmkiln.store.engine import shown_address
    from vmkiln.store.moving.move import move as moving

    address = shown_address(to)
    with only_service(settings, Occupant.COMMAND), opened_store(settings, say) as old:
        if going_on := live_runs(settings.runs):
            raise InputError(
                f"runs go on here: {', '.join(going_on)}", hint="wait for them, or cancel them: `vmkiln run list`"
            )
        with databases.opened(to, home=settings.home, keys=settings.keys_folder) as new:
            with long_work(f"moving the rows to {address}"):
                found = moving(old.connections, new.connections, address=address)
            with audited(new, DATABASE_MOVE, DATABASE_ID):
                pass  # it could not be recorded together with the rows, which are compared with the old ones
    return found


def _undo(settings: Settings) -> None:
    import contextlib

    from vmkiln.service import Occupant, only_service
    from vmkiln.store.database import utc_now
    from vmkiln.store.engine import connected
    from vmkiln.store.moving.move import reopen

    with only_service(settings, Occupant.COMMAND), contextlib.closing(connected(settings.database, utc_now)) as old:
        address = reopen(old)
    say(f"{settings.database} is used again; what was written to {address} since it was moved is not in it")
