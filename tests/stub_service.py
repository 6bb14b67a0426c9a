"""A service for tests of clients, as a process of its own: everything is real but the virtual machines.

    python -m stub_service HOME

Prints its URL when it is ready, and ends on SIGTERM.
"""

import asyncio
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import stub_build

from vmkiln import service as vmkiln_service
from vmkiln.api.identity.access_control import AccessControl
from vmkiln.api.identity.first_start import ensure_owner, service_directory
from vmkiln.api.identity.issuer import ensure_issuer
from vmkiln.api.identity.tls import ensure_tls, listen_names, names_of
from vmkiln.api.shells.meetings import Meetings
from vmkiln.listener import Address, bound, meetings, serve
from vmkiln.preparation import opened_store
from vmkiln.run.room import Room
from vmkiln.service import only_service, remember_endpoint, running
from vmkiln.settings import Settings
from vmkiln.settings_sources import read_settings
from vmkiln.store.database import utc_now


async def main(settings: Settings) -> None:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    with (
        only_service(settings),
        opened_store(settings, lambda _text: None) as store,
        bound(Address("127.0.0.1", int(os.environ.get("STUB_PORT", "0")))) as listening,
    ):
        directory = service_directory(settings.home)
        tls = ensure_tls(directory / "tls", listen_names("127.0.0.1"), now=utc_now())
        issuer = ensure_issuer(directory, settings.keys_folder)
        ensure_owner(store, settings.home, tenant_id=issuer.tenant_id)
        port = listening.getsockname()[1]
        url = f"https://localhost:{port}"

        async def on_ready() -> None:
            remember_endpoint(settings, url)
            sys.stdout.write(url + "\n")
            sys.stdout.flush()

        names = names_of(tls.certificate)
        access, authority = AccessControl(store, issuer, names=names), tls.authority.read_text()
        near, far = meetings(Address("127.0.0.1", port), settings.service_url, authority, names, is_near=True)
        build, shells = stub_build.stub_build(settings, store), Meetings(near, far)
        async with running(settings, store, access, issuer=issuer, build=build, shells=shells) as application:
            await serve(application, listening, certificate=tls.certificate, key=tls.key, on_ready=on_ready)


if __name__ == "__main__":
    if cpus := os.environ.get("STUB_CPUS"):
        vmkiln_service.host_capacity = lambda _settings: Room(int(cpus), 1024**2, 1024**3)
    stub_build.PHASE_SECONDS = float(os.environ.get("STUB_PHASE_SECONDS", stub_build.PHASE_SECONDS))
    try:
        asyncio.run(main(replace(read_settings(), home=Path(sys.argv[1]))))
    except asyncio.CancelledError:
        sys.exit(0)
