"""The Image Builder service of this machine: the API over the store, and the work it does by itself.

One service at a time works in a state directory; it holds a lock there.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

from starlette.types import ASGIApp

from vmkiln.api.identity.caller import Access
from vmkiln.api.identity.issuer import Issuer
from vmkiln.api.protocol.application import application
from vmkiln.api.protocol.dispatcher import Dispatcher, RouteTable
from vmkiln.api.protocol.route import Answer, Parts
from vmkiln.api.resource_types import ALL_ROUTES
from vmkiln.api.resources import deployments, resource_groups
from vmkiln.blobs.blob_server import find_azurite
from vmkiln.blobs.blob_storage import BlobStorage, external_service
from vmkiln.durable_file import make_folder, write_whole
from vmkiln.errors import InputError
from vmkiln.fleet.attempt import Build
from vmkiln.fleet.host_identity import HostIdentity
from vmkiln.fleet.image_builder import WATCH_SECONDS, ImageBuilder
from vmkiln.portal.application import with_portal
from vmkiln.preparation import host_capacity, prepared_host
from vmkiln.private_folder import make_private
from vmkiln.run.run_context import RunRequest, Tell
from vmkiln.run.run_event import Notice
from vmkiln.run.workflow import execute
from vmkiln.settings import Settings
from vmkiln.sharing.shared_storage import SharedStorage
from vmkiln.store.database import Store
from vmkiln.tracing import Export

BACKGROUND_THREADS = 32
log = logging.getLogger(__name__)


def real_build(settings: Settings, store: Store, *, shared: SharedStorage | None = None) -> Build:
    """Builds in virtual machines on this host."""

    async def build(request: RunRequest, tell: Tell) -> object:
        def progress(text: str) -> None:
            tell(Notice(text))

        async with prepared_host(settings, store, progress, shared=shared) as host:
            return await execute(host, request, tell)

    return build


@contextlib.contextmanager
def only_service(settings: Settings) -> Iterator[None]:
    """The lock of the one service of a state directory, which is made its owner's alone.

    Raises: `InputError` when another holds it.
    """
    make_folder(settings.home)
    path = settings.home / "service.lock"
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"another `vmkiln serve` works in {settings.home}", hint="end it, or give this one its own --data"
            ) from None
        make_private(settings.home, log.warning, is_thorough=True)
        yield
    finally:
        os.close(descriptor)


def background_threads() -> Callable[[Callable[[], None]], None]:
    """Runs functions in threads of their own, some at once, the others after them.

    The end of the service does not wait for them: what they leave undone is ended by the next start, and said so.
    """
    room = threading.BoundedSemaphore(BACKGROUND_THREADS)

    def submit(function: Callable[[], None]) -> None:
        def work() -> None:
            with room:
                function()

        threading.Thread(target=work, name="background", daemon=True).start()

    return submit


@contextlib.asynccontextmanager
async def running(
    settings: Settings,
    store: Store,
    access: Access,
    *,
    issuer: Issuer,
    build: Build,
    watch_seconds: float = WATCH_SECONDS,
    export: Export = lambda _trace: None,
    identity: HostIdentity | None = None,
    isolation_level: Callable[[], Awaitable[str]] | None = None,
    shared: SharedStorage | None = None,
) -> AsyncIterator[ASGIApp]:
    """The service as an ASGI application, while the block lasts; runs that go on at its end are cancelled.

    Raises: `InputError` when another live host has this one's name.
    """
    builder = ImageBuilder(
        settings,
        store,
        build,
        capacity=lambda: host_capacity(settings),
        watch_seconds=watch_seconds,
        on_trace=export,
        identity=identity,
        isolation_level=isolation_level,
        shared=shared,
    )
    builder.take_up()
    dispatcher = Dispatcher(RouteTable(ALL_ROUTES))
    resource_groups.end_interrupted(store)
    deployments.end_interrupted(store)

    def dispatch(method: str, path: str, **options: object) -> Answer:
        return dispatcher.answer_inside(parts, method, path, **options)  # type: ignore[arg-type]

    parts = Parts(settings, store, access, builder, dispatch, background_threads(), issuer, ALL_ROUTES, shared=shared)
    connection = settings.blob_connection_string
    external = external_service(connection) if connection else None
    blobs = BlobStorage(settings, store, find_azurite(settings.azurite), external)
    working = [asyncio.create_task(builder.serve()), asyncio.create_task(blobs.serve())]
    if shared is not None:
        working.append(asyncio.create_task(shared.follow()))
    at_work = asyncio.create_task(builder.at_work())
    try:
        await asyncio.wait([working[0], at_work], return_when=asyncio.FIRST_COMPLETED)
        if working[0].done():
            working[0].result()  # why it cannot work, such as a name that another host has
        yield with_portal(application(parts, dispatcher))
    finally:
        at_work.cancel()
        for task in working:
            task.cancel()
        await asyncio.wait(working)


def remember_endpoint(settings: Settings, url: str) -> Path:
    """Record where the service is reached, for the commands of this machine that talk to it."""
    path = settings.home / "service" / "endpoint"
    make_folder(path.parent)
    write_whole(path, f"{url}\n".encode())
    return path
