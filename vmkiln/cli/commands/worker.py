"""`vmkiln worker`: a build host of a fleet. It serves nobody; it takes runs from the database it shares."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from vmkiln.cli.commands.serve import LogFormat, set_up_logging
from vmkiln.cli.host_options import LeaseOption, NameOption, RegionOption, identity_of
from vmkiln.cli.interrupts import host_to_end
from vmkiln.cli.output import say
from vmkiln.errors import InputError
from vmkiln.fleet.attempt import HostWork
from vmkiln.fleet.host_identity import LEASE_SECONDS, HostIdentity
from vmkiln.fleet.hosting import Hosting
from vmkiln.preparation import host_capacity, isolation_level_of, opened_store
from vmkiln.serving import only_service, real_build
from vmkiln.settings import Settings, checked_object_store, read_settings
from vmkiln.sharing.shared_storage import shared_storage
from vmkiln.tracing import exported


def has_password(url: str) -> bool:
    """Whether a URL has a password; pure. Raises: `InputError`, without what it says, when it is none."""
    try:
        return bool(urlsplit(url).password) or "password=" in url
    except ValueError as error:
        raise InputError("--database-url is no URL", hint="postgresql://USER@HOST/DATABASE") from error


def worker(
    database_url: Annotated[
        str,
        typer.Option(help="The fleet's PostgreSQL; better in $VMKILN_DATABASE_URL, where no process list shows it."),
    ] = "",
    object_store: Annotated[
        str, typer.Option(help="Where the fleet's images and logs are: az://, s3://, file://; $VMKILN_OBJECT_STORE.")
    ] = "",
    data: Annotated[
        Path | None, typer.Option(help="The state directory; $VMKILN_HOME when left out.", file_okay=False)
    ] = None,
    name: NameOption = "",
    region: RegionOption = "",
    lease_seconds: LeaseOption = LEASE_SECONDS,
    log_format: Annotated[
        LogFormat, typer.Option(help="Lines for people, or one JSON object a line.")
    ] = LogFormat.TEXT,
) -> None:
    """Build what a fleet's service accepted, on this host; Ctrl-C ends it, and its runs wait for another host."""
    if os.getuid() == 0:
        raise InputError("a worker runs as an ordinary user, never as root", hint="run it as yourself")
    if has_password(database_url):
        raise InputError(
            "--database-url has a password, and every user of this machine could read it in the process list",
            hint="put the URL into the environment: VMKILN_DATABASE_URL",
        )
    settings = read_settings()
    settings = replace(
        settings,
        home=data.absolute() if data else settings.home,
        database_url=database_url or settings.database_url,
        object_store=checked_object_store(object_store) or settings.object_store,
    )
    if not settings.database_url:
        raise InputError(
            "a worker needs the database of its fleet",
            hint="set VMKILN_DATABASE_URL=postgresql://..., or run `vmkiln serve`, which builds on one machine alone",
        )
    set_up_logging(log_format)
    identity = identity_of(name, region, lease_seconds=lease_seconds)
    host_to_end(_work(settings, identity), ended="the worker has ended")


async def _work(settings: Settings, identity: HostIdentity) -> None:
    with (
        exported(os.environ) as export,
        only_service(settings),
        opened_store(settings, say) as store,
    ):
        shared = shared_storage(settings, store)
        work = HostWork(
            real_build(settings, store, shared=shared),
            capacity=lambda: host_capacity(settings),
            isolation_level=lambda: isolation_level_of(settings, store, say),
            on_trace=export,
            shared=shared,
        )
        say(f"{identity.name} takes runs (state in {settings.home})")
        await Hosting(settings, store, work, identity).serve()
