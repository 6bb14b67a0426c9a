"""`vmkiln worker`: a build host of a fleet. It serves nobody; it takes runs from the database it shares."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from vmkiln.cli.host_options import (
    DataOption,
    LeaseOption,
    LogFormatOption,
    NameOption,
    RegionOption,
    identity_of,
)
from vmkiln.cli.invocation import read_settings
from vmkiln.cli.manual.examples import examples
from vmkiln.errors import InputError
from vmkiln.setting_texts.declaration import LogLevel
from vmkiln.settings import Settings

if TYPE_CHECKING:
    from vmkiln.fleet.host_identity import HostIdentity


def has_password(url: str) -> bool:
    """Whether a URL has a password; pure. Raises: `InputError`, without what it says, when it is none."""
    try:
        return bool(urlsplit(url).password) or "password=" in url
    except ValueError as error:
        raise InputError("--database-url is no URL", hint="postgresql://USER@HOST/DATABASE") from error


@examples("vmkiln worker --database-url postgresql://vmkiln@db.example.org/vmkiln --object-store s3://images")
def worker(
    database_url: Annotated[
        str,
        typer.Option(help="The fleet's PostgreSQL; better in $VMKILN_DATABASE_URL, where no process list shows it."),
    ] = "",
    object_store: Annotated[
        str, typer.Option(help="Where the fleet's images and logs are: az://, s3://, file://; $VMKILN_OBJECT_STORE.")
    ] = "",
    data: DataOption = None,
    name: NameOption = None,
    region: RegionOption = None,
    lease_seconds: LeaseOption = None,
    log_format: LogFormatOption = None,
) -> None:
    """Build what a fleet's service accepted, on this host; Ctrl-C ends it, and its runs wait for another host.

    What is not given here is as the settings say: `vmkiln settings` shows them.
    """
    from vmkiln.cli.interrupts import host_to_end

    if os.getuid() == 0:
        raise InputError("a worker runs as an ordinary user, never as root", hint="run it as yourself")
    if has_password(database_url):
        raise InputError(
            "--database-url has a password, and every user of this machine could read it in the process list",
            hint="put the URL into the environment: VMKILN_DATABASE_URL",
        )
    settings = read_settings(
        default_level=LogLevel.INFO,
        database_url=database_url or None,
        object_store=object_store or None,
        home=data,
        host_name=name,
        region=region,
        lease_seconds=lease_seconds,
        log_format=log_format,
    )
    if not settings.database_url:
        raise InputError(
            "a worker needs the database of its fleet",
            hint="set VMKILN_DATABASE_URL=postgresql://..., or run `vmkiln serve`, which builds on one machine alone",
        )
    host_to_end(_work_alone(settings, identity_of(settings)), ended="the worker has ended")


async def _work_alone(settings: Settings, identity: HostIdentity) -> None:
    from vmkiln.service import Occupant, only_service
    from vmkiln.waiting.off_loop import off_loop_with

    async with off_loop_with(lambda: only_service(settings, Occupant.WORKER)):
        await _work(settings, identity)


async def _work(settings: Settings, identity: HostIdentity) -> None:
    from vmkiln.cli.interrupts import end_for_sure
    from vmkiln.fleet.attempt import HostDuties
    from vmkiln.host.confinement.file_limit import raise_file_limit
    from vmkiln.lifetime.notify_socket import notify_socket
    from vmkiln.lifetime.rounds import Rounds
    from vmkiln.preparation import host_capacity, isolation_level_of, opened_store
    from vmkiln.process_log import say
    from vmkiln.service import real_build, real_visit, take_runs
    from vmkiln.sharing.shared_storage import shared_storage
    from vmkiln.tracing import exported

    with (
        exported(os.environ) as export,
        opened_store(settings, say) as store,
    ):
        raise_file_limit()
        rounds = Rounds()
        shared = shared_storage(settings, store, rounds=rounds)
        duties = HostDuties(
            real_build(settings, store, shared=shared),
            capacity=lambda: host_capacity(settings),
            isolation_level=lambda: isolation_level_of(settings, store, say),
            on_trace=export,
            shared=shared,
        )
        say(f"{identity.name} takes runs (state in {settings.home})")
        systemd = notify_socket(os.environ)
        await take_runs(
            settings,
            store,
            duties,
            identity,
            rounds=rounds,
            notify=systemd,
            on_unasked=end_for_sure,
            visit=real_visit(settings, store),
        )
