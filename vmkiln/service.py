"""The Image Builder service of this machine: the API over the store, and the work it does by itself.

One service at a time works in a state directory; it holds a lock there.
"""

import asyncio
import contextlib
import functools
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from enum import StrEnum
from pathlib import Path

from starlette.types import ASGIApp

from vmkiln.api.builds.shell_streams import with_shells
from vmkiln.api.identity.caller import Access
from vmkiln.api.identity.issuer import Issuer
from vmkiln.api.identity.login_provider import LoginProvider, read_secret
from vmkiln.api.identity.outside_issuer import Issuers
from vmkiln.api.protocol.application import application
from vmkiln.api.protocol.background import BackgroundThreads
from vmkiln.api.protocol.dispatcher import Dispatcher, RouteTable
from vmkiln.api.protocol.request_log import with_request_log
from vmkiln.api.protocol.route import Answer, Service
from vmkiln.api.resource_types import ALL_ROUTES
from vmkiln.api.resources import deployments, resource_groups
from vmkiln.api.shells.meetings import Meetings
from vmkiln.audit.audit_log import FORGET_SECONDS, AuditLog, Kept
from vmkiln.blobs.blob_server import find_azurite
from vmkiln.blobs.blob_storage import BlobStorage, external_service
from vmkiln.errors import InputError, VmkilnError
from vmkiln.fetching.documents import fetch_json, send_form
from vmkiln.fetching.server_rule import FOR_THE_OPERATOR, NamedBy
from vmkiln.fetching.way_out import rule_of, way_out_of
from vmkiln.files.durable_file import make_folder, write_whole
from vmkiln.files.locks import is_held, opened, try_to_take
from vmkiln.files.private_folder import make_private
from vmkiln.fleet.attempt import Build, HostDuties
from vmkiln.fleet.cloned_host import refuse_clone
from vmkiln.fleet.health import Health
from vmkiln.fleet.host_identity import HostIdentity
from vmkiln.fleet.hosting import Hosting
from vmkiln.fleet.image_builder import WATCH_SECONDS, ImageBuilder
from vmkiln.fleet.visits.asked_shells import AskedShells, Visit
from vmkiln.host.host_id import host_id
from vmkiln.lifetime import owned_tasks
from vmkiln.lifetime.notify_socket import NotifySocket
from vmkiln.lifetime.owned_tasks import OnUnasked
from vmkiln.lifetime.rounds import Rounds
from vmkiln.notice.receivers import receivers_of
from vmkiln.notice.sending import NOTICE_SECONDS, Notices
from vmkiln.portal.application import with_portal
from vmkiln.preparation import host_capacity, make_home, prepared_host, visited_host
from vmkiln.run.held.called import called
from vmkiln.run.held.waking import run_ended
from vmkiln.run.run_context import BuildHost, RunRequest, Tell
from vmkiln.run.run_event import Notice
from vmkiln.run.workflow import execute
from vmkiln.settings import Settings
from vmkiln.sharing.shared_storage import SharedStorage
from vmkiln.shells.order import Order
from vmkiln.store.database import Store
from vmkiln.store.operation_table import RENEW_SECONDS
from vmkiln.tracing import Export
from vmkiln.waiting.off_loop import in_round, off_loop, to_its_end

COMMANDS_SECONDS = 30.0  # commands that answer in their own process are waited for
LOOK_SECONDS = 0.1
NO_SYSTEMD = NotifySocket()
AUDIT_SECONDS = 5.0
log = logging.getLogger(__name__)


def real_build(settings: Settings, store: Store, *, shared: SharedStorage | None = None) -> Build:
    """Builds in virtual machines on this host."""

    async def build(request: RunRequest, tell: Tell) -> object:
        def progress(text: str) -> None:
            tell(Notice(text))

        async with prepared_host(settings, store, progress, shared=shared) as host:
            return await execute(host, request, tell)

    return build


def real_visit(settings: Settings, store: Store) -> Visit:
    """Visitors are let into the failed VMs that this host holds."""

    @contextlib.asynccontextmanager
    async def opened_host(run_id: str) -> AsyncIterator[BuildHost]:
        await run_ended(settings, run_id)
        async with visited_host(settings, store) as host:
            yield host

    async def visit(asked: Order) -> None:
        await called(asked, lambda: opened_host(asked.run_id))

    return visit


def login_provider_of(settings: Settings) -> LoginProvider | None:
    """The issuer at which people log in, when the operator named one. Raises: `InputError` when its secret is none."""
    if not settings.login_issuer:
        return None
    if settings.login_client_secret_file is not None:
        read_secret(settings.login_client_secret_file)  # it is read when it is needed, but a wrong one is told now
    rule, way_out = FOR_THE_OPERATOR, way_out_of(settings)
    return LoginProvider(
        settings.login_issuer,
        settings.login_client_id,
        settings.login_client_secret_file,
        fetch=functools.partial(fetch_json, rule=rule, way_out=way_out),
        send=functools.partial(send_form, rule=rule, way_out=way_out),
    )


class Occupant(StrEnum):
    """What has a state directory for itself, which nothing else may work in."""

    SERVICE = "service"
    WORKER = "worker"
    COMMAND = "command"


class Occupied(InputError):
    """A state directory is in use; `by` says what by."""

    def __init__(self, by: Occupant, message: str, *, hint: str) -> None:
        super().__init__(message, hint=hint)
        self.by = by


@contextlib.contextmanager
def only_service(settings: Settings, occupant: Occupant = Occupant.SERVICE) -> Iterator[None]:
    """The lock of the one service, or worker, of a state directory, which is made its owner's alone; blocks.

    Commands that answer in their own process are waited for, but for one that builds: the others do not last.
    Raises: `Occupied` when another holds it.
    """
    with _lock_file(settings) as descriptor:
        if not try_to_take(descriptor):
            _wait_for_commands(settings, descriptor)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, occupant.encode(), 0)
        make_private(settings.home, log.warning, is_thorough=True)
        yield


def _wait_for_commands(settings: Settings, descriptor: int) -> None:
    deadline = time.monotonic() + COMMANDS_SECONDS
    while try_to_take(descriptor, shared=True):  # no service, then
        if try_to_take(descriptor):
            return
        if is_held(_builder(settings)):
            raise _built_by_a_command(settings)
        if time.monotonic() > deadline:
            message = f"commands have worked in {settings.home} all the time"
            raise Occupied(Occupant.COMMAND, message, hint="wait for them, or end them")
        time.sleep(LOOK_SECONDS)
    raise Occupied(
        Occupant.SERVICE,
        f"another `vmkiln serve` or `worker` works in {settings.home}",
        hint="end it, or give this one its own --data",
    )


@contextlib.contextmanager
def beside_commands(settings: Settings, *, builds: bool = False) -> Iterator[None]:
    """The lock of a command that answers in its own process; one at a time builds there.

    Raises: `Occupied` when a service or a worker works here, or, with `builds`, another command that builds.
    """
    with contextlib.ExitStack() as stack:
        descriptor = stack.enter_context(_lock_file(settings))
        if not try_to_take(descriptor, shared=True):
            if os.pread(descriptor, 16, 0) == Occupant.WORKER.encode():
                hint = "log in to the service of its fleet: `vmkiln login URL`"
                raise Occupied(Occupant.WORKER, f"a worker works in {settings.home}, which answers nobody", hint=hint)
            raise Occupied(Occupant.SERVICE, f"a service works in {settings.home}", hint="ask it, or end it")
        if builds and not try_to_take(stack.enter_context(opened(_builder(settings)))):
            raise _built_by_a_command(settings)
        yield


def _built_by_a_command(settings: Settings) -> Occupied:
    hint = "wait for it, or start `vmkiln serve` once it has ended, which builds several at once"
    return Occupied(Occupant.COMMAND, f"a `vmkiln template run` builds in {settings.home}", hint=hint)


def _builder(settings: Settings) -> Path:
    return settings.home / "command.lock"


@contextlib.contextmanager
def _lock_file(settings: Settings) -> Iterator[int]:
    make_home(settings.home)
    with opened(settings.home / "service.lock") as descriptor:
        yield descriptor


@contextlib.asynccontextmanager
async def running(
    settings: Settings,
    store: Store,
    access: Access,
    *,
    issuer: Issuer,
    build: Build,
    watch_seconds: float = WATCH_SECONDS,
    export: Export | None = None,
    identity: HostIdentity | None = None,
    isolation_level: Callable[[], Awaitable[str]] | None = None,
    is_tried_first: bool = True,
    shared: SharedStorage | None = None,
    rounds: Rounds | None = None,
    notify: NotifySocket = NO_SYSTEMD,
    on_unasked: OnUnasked = owned_tasks.nothing,
    visit: Visit | None = None,
    shells: Meetings | None = None,
) -> AsyncIterator[ASGIApp]:
    """The service as an ASGI application, while the block lasts; runs that go on at its end are cancelled.

    Everything it does is owned by the block: what ends unasked ends all of it, after `on_unasked` was called. With an
    `identity` that is embedded it is a command's, and does only what that asks for. With a `visit` its host lets
    visitors into the failed VMs that it holds; `shells` knows where hosts and visitors meet.

    Raises: `InputError` when another live host has this one's name or id, for a receiver of notices that is none, or a
    login's secret that is none;
    whatever ended a part of the service.
    """
    await refuse_clone(settings, store)
    rounds = rounds or Rounds()
    identity = identity or HostIdentity()
    notices = Notices(settings, store, receivers_of(settings))
    audit = AuditLog(store.audit, Kept(settings.audit_kept_days, settings.audit_most_acts))
    builder = ImageBuilder(
        settings,
        store,
        build,
        capacity=lambda: host_capacity(settings),
        watch_seconds=watch_seconds,
        on_trace=export,
        identity=identity,
        isolation_level=isolation_level,
        is_tried_first=is_tried_first,
        shared=shared,
        rounds=rounds,
    )
    dispatcher = Dispatcher(RouteTable(ALL_ROUTES))

    def dispatch(method: str, path: str, **options: object) -> Answer:
        return dispatcher.answer_inside(service, method, path, **options)  # type: ignore[arg-type]

    background = BackgroundThreads(on_failure=lambda: rounds.count("background"))
    # whoever may give an identity a federated credential names an issuer: a caller, whose servers are checked
    ask = functools.partial(fetch_json, rule=rule_of(settings, NamedBy.CALLER), way_out=way_out_of(settings))
    service = Service(
        settings,
        store,
        access,
        builder,
        dispatch,
        background,
        issuer,
        ALL_ROUTES,
        audit,
        issuers=Issuers(fetch=ask),
        login=login_provider_of(settings),
        shared=shared,
        rounds=rounds,
        shells=Meetings() if shells is None else shells,
    )
    async with _flushed(audit), _session(settings, store, is_alone=not identity.is_embedded):
        if not identity.is_embedded:
            await off_loop(builder.resume)
            await in_round(_end_interrupted, store)
        async with owned_tasks.opened(on_unasked=on_unasked) as tasks:
            tasks.own("image builder", builder.serve(on_unasked=on_unasked))
            look = functools.partial(_look_after_sessions, settings, store, is_embedded=identity.is_embedded)
            rounds.own(tasks, "session", look, seconds=RENEW_SECONDS)
            if not identity.is_embedded:
                tasks.own("template trials", service.trials.serve())
                forget = functools.partial(in_round, audit.forget)
                rounds.own(tasks, "audit", forget, seconds=FORGET_SECONDS)
                if notices.receivers.names:
                    rounds.own(tasks, "notice", notices.go_round, seconds=NOTICE_SECONDS, is_needed=False)
                tasks.own("blob storage", _blobs(settings, store, rounds).serve(on_unasked=on_unasked))
                if shared is not None:
                    tasks.own("shared storage", shared.follow(on_unasked=on_unasked))
            if notify.watchdog_seconds:
                tasks.own("systemd watchdog", notify.watched(rounds, service.health.problems))
            if visit is not None and identity.takes_runs:
                tasks.own("shells", AskedShells(settings, store, visit, rounds=rounds).serve())
            await builder.at_work()
            try:
                served = with_portal(application(service, dispatcher))
                served = with_shells(served, service.shells, store.shells.withdraw)
                yield with_request_log(served) if settings.access_log else served
            finally:
                notify.tell(STOPPING="1")


def _blobs(settings: Settings, store: Store, rounds: Rounds) -> BlobStorage:
    connection = settings.blob_connection_string
    external = external_service(connection) if connection else None
    return BlobStorage(settings, store, find_azurite(settings.azurite), external, rounds=rounds)


@contextlib.asynccontextmanager
async def _flushed(audit: AuditLog) -> AsyncIterator[None]:
    """The audit's table has what was done in the block, when that can be had in time."""
    try:
        yield
    finally:
        await in_round(audit.flush, AUDIT_SECONDS)


@contextlib.asynccontextmanager
async def _session(settings: Settings, store: Store, *, is_alone: bool) -> AsyncIterator[None]:
    """Others know while the block lasts that what is begun here goes on."""
    await off_loop(lambda: store.sessions.begin(host_id=host_id(settings), is_alone=is_alone))
    try:
        yield
    finally:
        with contextlib.suppress(VmkilnError):  # its database may be away; then the lease runs out
            await in_round(store.sessions.end)


async def _look_after_sessions(settings: Settings, store: Store, *, is_embedded: bool) -> None:
    """Tell that this session goes on, and end what the sessions began that do not any more."""
    renewing = in_round(lambda: store.sessions.renew(host_id=host_id(settings)))
    await to_its_end(asyncio.ensure_future(renewing))  # it would begin the session anew when that has ended
    if not is_embedded:
        await in_round(_end_interrupted, store)


def _end_interrupted(store: Store) -> None:
    going_on = store.sessions.going_on()
    resource_groups.end_interrupted(store, going_on)
    deployments.end_interrupted(store, going_on)


async def take_runs(
    settings: Settings,
    store: Store,
    duties: HostDuties,
    identity: HostIdentity,
    *,
    rounds: Rounds | None = None,
    notify: NotifySocket = NO_SYSTEMD,
    on_unasked: OnUnasked = owned_tasks.nothing,
    visit: Visit | None = None,
) -> None:
    """What a worker does, until cancelled; with a `visit` it lets visitors in, too. Raises: as `running`."""
    await refuse_clone(settings, store)
    rounds = rounds or Rounds()
    hosting = Hosting(settings, store, duties, identity, rounds=rounds)
    health = Health(settings, store, rounds)
    async with owned_tasks.opened(on_unasked=on_unasked) as tasks:
        tasks.own("host", hosting.serve(on_unasked=on_unasked))
        if visit is not None:
            tasks.own("shells", AskedShells(settings, store, visit, rounds=rounds).serve())
        if notify.watchdog_seconds:
            tasks.own("systemd watchdog", notify.watched(rounds, health.problems))
        await hosting.is_at_work.wait()
        notify.tell(READY="1", STATUS="well")
        try:
            await owned_tasks.for_ever()
        finally:
            notify.tell(STOPPING="1")


def remember_endpoint(settings: Settings, url: str) -> Path:
    """Record where the service is reached, for the commands of this machine that talk to it."""
    path = settings.home / "service" / "endpoint"
    make_folder(path.parent)
    write_whole(path, f"{url}\n".encode())
    return path
