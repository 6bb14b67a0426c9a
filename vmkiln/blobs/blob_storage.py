"""Keeps the blobs of every staging resource group's storage account where Azure's clients can list and fetch them.

The files in the staging folders are the truth, the blobs are copies: after a crash, or when the blob server was away,
the next pass sends what is missing. Logs of runs that go on are sent every `LOGS_SECONDS`.

*Leaves behind:* blobs and accounts' keys. *Undone by:* deleting the staging resource group; the next look takes its
blobs and keys away. *Safe to repeat:* yes.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from azure.core.exceptions import AzureError
from azure.storage.blob import BlobServiceClient

from vmkiln.blobs.account_keys import AccountKeys
from vmkiln.blobs.blob_endpoint import BlobEndpoint, BlobService, write_endpoint
from vmkiln.blobs.blob_server import Azurite, BlobPlace, supervise
from vmkiln.blobs.blob_upload import Destination, StoppedError, Uploader, withdraw
from vmkiln.errors import InputError, StorageFailed
from vmkiln.run_state import GOING_ON
from vmkiln.settings import Settings
from vmkiln.staging.storage_account import StorageAccount, account_name
from vmkiln.store.database import Store, utc_now

logger = logging.getLogger(__name__)

LOGS_SECONDS = 1.5  # an append blob takes 50,000 appends: 20 hours of these
LOOK_SECONDS = 20.0
RECENT = timedelta(seconds=10)  # how long after a run's end its log may still grow, clocks of a fleet included
FEW_RETRIES: dict[str, Any] = {"retry_total": 2, "connection_timeout": 5, "read_timeout": 60, "initial_backoff": 1}


def account_of(settings: Settings, group_name: str) -> StorageAccount:
    """The storage account of a staging resource group; pure."""
    name = account_name(group_name)
    return StorageAccount(name, settings.staging / group_name / name)


def external_service(connection_string: str) -> BlobServiceClient:
    """The blob service that a connection string names. Raises: `InputError` when it is none."""
    try:
        return BlobServiceClient.from_connection_string(connection_string, **FEW_RETRIES)
    except ValueError as error:
        raise InputError(
            f"the connection string of the blob storage cannot be used: {error}",
            hint="VMKILN_BLOB_CONNECTION_STRING is what `az storage account show-connection-string` prints",
        ) from error


@dataclass
class BlobStorage:
    """The blobs, kept up to date while `serve` goes on; `is_up` says whether anything can be sent now."""

    settings: Settings
    store: Store
    azurite: Azurite | None
    external: BlobServiceClient | None = None
    look_seconds: float = LOOK_SECONDS
    _url: str = ""
    _is_up: asyncio.Event = field(default_factory=asyncio.Event)
    _stop: threading.Event = field(default_factory=threading.Event)

    async def serve(self) -> None:
        """Serve and send until cancelled; without a blob server there is nothing to do."""
        write_endpoint(self.settings.blob_endpoint, None)
        if self.external is not None:
            self._changed(BlobEndpoint(BlobService.EXTERNAL, str(self.external.url).rstrip("/")))
            await self._together(self._send_logs(), self._send_the_rest())
        elif self.azurite is None:
            logger.info("Azurite is not installed, so logs are read over the service only (`vmkiln storage install`)")
        else:
            self.keys.ensure([])
            server = supervise(self.azurite, BlobPlace(self.settings.blobs), self._server_changed)
            await self._together(server, self._send_logs(), self._send_the_rest())

    @property
    def keys(self) -> AccountKeys:
        """The keys of the accounts."""
        return AccountKeys(BlobPlace(self.settings.blobs).keys)

    async def _together(self, *work: Coroutine[None, None, None]) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                for item in work:
                    tasks.create_task(item)
        finally:
            self._stop.set()
            self._changed(None)

    def _server_changed(self, url: str) -> None:
        self._changed(BlobEndpoint(BlobService.AZURITE, url) if url else None)

    def _changed(self, endpoint: BlobEndpoint | None) -> None:
        write_endpoint(self.settings.blob_endpoint, endpoint)
        self._url = endpoint.url if endpoint else ""
        (self._is_up.set if endpoint else self._is_up.clear)()

    def destination(self, account: str) -> Destination:
        """Where an account's blobs go."""
        if self.external is not None:
            return Destination(self.external, account)
        credential = {"account_name": account, "account_key": self.keys.of(account)[0]}
        return Destination(BlobServiceClient(f"{self._url}/{account}", credential=credential, **FEW_RETRIES))

    async def _send_logs(self) -> None:
        await self._passes(Uploader(is_for_logs=True, stop=self._stop), lambda: None)

    async def _send_the_rest(self) -> None:
        await self._passes(Uploader(is_for_logs=False, stop=self._stop), self._withdraw_deleted)

    async def _passes(self, uploader: Uploader, look_around: Callable[[], None]) -> None:
        """Send what is new, again and again: of all groups at first, then of new ones and those with runs.

        A run may begin and end between two passes, so those that ended since the last one count too.
        """
        loop = asyncio.get_running_loop()
        known: set[str] = set()
        since = utc_now()
        next_look, last_problem = 0.0, ""
        while True:
            await self._is_up.wait()
            try:
                began = utc_now()
                groups = await asyncio.to_thread(self._groups_with_runs, since - RECENT)
                if loop.time() >= next_look:
                    names = await asyncio.to_thread(self._group_names)
                    groups |= names - known
                    await asyncio.to_thread(look_around)
                await asyncio.to_thread(self._publish, uploader, groups)
                if loop.time() >= next_look:
                    known, next_look = names, loop.time() + self.look_seconds
                since, last_problem = began, ""
            except StoppedError:
                return
            except (AzureError, OSError, StorageFailed, ValueError) as error:
                if str(error) != last_problem:
                    logger.warning("blobs could not be sent, which is tried again: %s", error)
                last_problem = str(error)
                uploader.forget()
                known, next_look = set(), 0.0
            await asyncio.sleep(LOGS_SECONDS)

    def _groups_with_runs(self, since: datetime) -> set[str]:
        """The groups of the runs that go on, and of those that ended after a moment."""
        runs = [*self.store.runs.list(limit=None, states=GOING_ON), *self.store.runs.ended_since(since)]
        return {run.staging_group for run in runs if run.staging_group}

    def _group_names(self) -> set[str]:
        return {row.name for row in self.store.staging.list_groups()}

    def _publish(self, uploader: Uploader, groups: Iterable[str]) -> None:
        for group in sorted(groups):
            account = account_of(self.settings, group)
            if account.directory.is_dir():
                uploader.publish(account, self.destination(account.name))

    def _withdraw_deleted(self) -> None:
        """Take away what belonged to groups that are gone."""
        accounts = set(self.keys.all()) if self.external is None else self._external_accounts()
        # after the keys: who has keys had a group before
        left = {account_name(name) for name in self._group_names()}
        for account in sorted(accounts - left):
            withdraw(self.destination(account))
            if self.external is None:
                self.keys.forget([account])

    def _external_accounts(self) -> set[str]:
        """The containers that accounts of groups, deleted ones too, have in the account from outside."""
        assert self.external is not None  # its only caller has looked
        ours = {account_name(row.name) for row in self.store.staging.list_groups(with_deleted=True)}
        return {container.name for container in self.external.list_containers()} & ours
