"""`vmkiln serve`: the Image Builder service on this machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    from vmkiln.api.identity.tls import TlsFiles
    from vmkiln.api.shells.meetings import Meetings
    from vmkiln.fleet.host_identity import HostIdentity
    from vmkiln.listener import Address
    from vmkiln.store.database import Store


def say(text: str) -> None:
    """What the service tells goes to standard error, the way of its log: it waits for nobody."""
    from vmkiln import process_log

    process_log.say(text)


@examples("vmkiln serve", "vmkiln serve --listen 0.0.0.0:8443 --tls-cert server.pem --tls-key server.key")
def serve_command(
    listen: Annotated[
        str | None, typer.Option(help="Where to listen: HOST:PORT; port 0 is any free one; 127.0.0.1:8443 if not set.")
    ] = None,
    data: DataOption = None,
    tls_cert: Annotated[
        Path | None, typer.Option("--tls-cert", help="A certificate (PEM, with its chain) instead of our own.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option("--tls-key", help="The key of --tls-cert (PEM).")] = None,
    log_format: LogFormatOption = None,
    access_log: Annotated[
        bool | None,
        typer.Option("--access-log/--no-access-log", help="Log each request, without its query."),
    ] = None,
    builds: Annotated[
        bool | None,
        typer.Option("--builds/--no-builds", help="Whether this machine builds, too, or only a fleet's workers."),
    ] = None,
    name: NameOption = None,
    region: RegionOption = None,
    lease_seconds: LeaseOption = None,
) -> None:
    """Serve Azure's Image Builder interface over HTTPS; Ctrl-C ends it and cleans up.

    What is not given here is as the settings say: `vmkiln settings` shows them.
    """
    from vmkiln.api.identity.tls import TlsFiles
    from vmkiln.audit.audit_log import log_always
    from vmkiln.cli.interrupts import host_to_end
    from vmkiln.listener import parse_address

    if os.getuid() == 0:
        raise InputError("the service runs as an ordinary user, never as root", hint="run it as yourself")
    settings = read_settings(
        default_level=LogLevel.INFO,
        home=data,
        listen=listen,
        tls_cert=tls_cert,
        tls_key=tls_key,
        log_format=log_format,
        access_log=access_log,
        builds=builds,
        host_name=name,
        region=region,
        lease_seconds=lease_seconds,
    )
    log_always()
    address = parse_address(settings.listen)
    if not settings.builds and not settings.database_url:
        raise InputError(
            "--no-builds leaves the building to workers, and they need a database that they can reach",
            hint="set VMKILN_DATABASE_URL=postgresql://...",
        )
    certificate, key = settings.tls_cert, settings.tls_key
    own = TlsFiles(certificate, certificate, key) if certificate and key else None
    identity = identity_of(settings, takes_runs=settings.builds)
    host_to_end(_serve_alone(settings, address, own, identity), ended="the service has ended")


async def _serve_alone(
    settings: Settings, address: Address, given_tls: TlsFiles | None, identity: HostIdentity
) -> None:
    from vmkiln.service import only_service
    from vmkiln.waiting.off_loop import off_loop_with

    async with off_loop_with(lambda: only_service(settings)):
        await _serve(settings, address, given_tls, identity)


async def _tell_portal(store: Store, app_id: str, url: str) -> None:
    """Where the portal is; to a terminal, and never to a journal, a link that logs in once: who has it is the owner."""
    from vmkiln.waiting.off_loop import off_loop

    say(f"portal: {url}/portal/ (`vmkiln open` opens it, logged in)")
    owner = await off_loop(store.principals.find, app_id)
    if sys.stderr.isatty() and owner is not None:
        code = await off_loop(store.principals.add_login_code, owner.object_id)
        say(f"log in once, within 10 minutes: {url}/portal/login?code={code}")


async def _compile_portal() -> None:
    """Have the portal's pages ready for its first visitor."""
    import logging

    from vmkiln.portal.rendering import compile_pages
    from vmkiln.waiting.off_loop import off_loop

    logging.getLogger(__name__).debug("%d pages of the portal are compiled", await off_loop(compile_pages))


def _meetings(settings: Settings, address: Address, tls: TlsFiles, *, is_near: bool) -> Meetings:
    """Where visitors of failed VMs and their hosts meet."""
    from vmkiln.api.identity.tls import certificates_of, names_of
    from vmkiln.api.shells.meetings import Meetings
    from vmkiln.listener import meetings

    authority, names = certificates_of(tls.authority), names_of(tls.certificate)
    return Meetings(*meetings(address, settings.service_url, authority, names, is_near=is_near))


async def _serve(settings: Settings, address: Address, given_tls: TlsFiles | None, identity: HostIdentity) -> None:
    import asyncio
    import functools
    import logging

    from vmkiln.api.identity.access_control import AccessControl
    from vmkiln.api.identity.first_start import ensure_owner, service_directory
    from vmkiln.api.identity.issuer import ensure_issuer
    from vmkiln.api.identity.outside_issuer import OutsideIssuer
    from vmkiln.api.identity.tls import ensure_tls, listen_names, names_of
    from vmkiln.cli.interrupts import end_for_sure
    from vmkiln.fetching.documents import fetch_json
    from vmkiln.fetching.server_rule import FOR_THE_OPERATOR
    from vmkiln.fetching.way_out import trusted, way_out_of
    from vmkiln.lifetime.notify_socket import notify_socket
    from vmkiln.lifetime.rounds import Rounds
    from vmkiln.listener import bound, inherited, places, serve, where
    from vmkiln.preparation import isolation_level_of, opened_store
    from vmkiln.service import real_build, real_visit, remember_endpoint, running
    from vmkiln.sharing.shared_storage import shared_storage
    from vmkiln.store.database import utc_now
    from vmkiln.tracing import exported
    from vmkiln.waiting.off_loop import off_loop

    with (
        exported(os.environ) as export,
        opened_store(settings, say) as store,
        bound(address, given := inherited(os.environ)) as listening,
    ):
        address, url, is_near = where(listening, address if given is None else None)
        directory = service_directory(settings.home)
        tls = given_tls or ensure_tls(directory / "tls", listen_names(address.host), now=utc_now())
        issuer = ensure_issuer(directory, settings.keys_folder)
        # the operator named this issuer; those of federated credentials are checked (`service.py`)
        way_out = way_out_of(settings)
        await off_loop(trusted, way_out)  # a bundle without certificates is told now
        ask = functools.partial(fetch_json, rule=FOR_THE_OPERATOR, way_out=way_out)
        outside = OutsideIssuer(*settings.oidc, fetch=ask) if settings.oidc else None
        access = AccessControl(store, issuer, outside, names=names_of(tls.certificate))
        owner = ensure_owner(store, settings.home, tenant_id=issuer.tenant_id)

        async def on_ready() -> None:
            remember_endpoint(settings, url)
            systemd.tell(READY="1", STATUS="well")
            say(f"serving {url} (state in {settings.home})")
            if not is_near:
                say("warning: other machines can reach this address")
            if given_tls is None:
                say(f"clients trust it with {tls.authority} (`vmkiln trust` has your browsers do so)")
            await _tell_portal(store, owner.app_id, url)
            say('in another terminal: eval "$(vmkiln az-setup)" && az group list')
            await _compile_portal()

        rounds, systemd = Rounds(), notify_socket(os.environ)
        shared = shared_storage(settings, store, rounds=rounds)
        build = real_build(settings, store, shared=shared)

        async def find_level() -> str:
            return await isolation_level_of(settings, store, logging.getLogger(__name__).info)

        async with running(
            settings,
            store,
            access,
            issuer=issuer,
            build=build,
            export=export,
            identity=identity,
            isolation_level=find_level,
            is_tried_first=settings.container_image.is_dir(),  # the runs of a first start do not wait for that
            shared=shared,
            watch_seconds=settings.source_watch_seconds,
            rounds=rounds,
            notify=systemd,
            on_unasked=end_for_sure,
            visit=real_visit(settings, store),
            shells=await off_loop(_meetings, settings, address, tls, is_near=is_near),
        ) as application:
            await serve(
                application,
                listening,
                certificate=tls.certificate,
                key=tls.key,
                on_ready=on_ready,
                connections=places(settings.most_connections, settings.most_connections_of_an_address),
            )
            await asyncio.sleep(0)
