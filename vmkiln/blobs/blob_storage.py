"""Keeps the blobs of every staging resource group's storage account where Azure's clients can list and fetch them.

Accounts of users are here too: the blob server alone has what they hold.

The files in the staging folders are the truth, the blobs are copies: after a crash, or when the blob server was away,
the next pass sends what is missing. Logs of runs that go on are sent every `LOGS_SECONDS`.

*Leaves behind:* blobs and accounts' keys. *Undone by:* deleting the staging resource group; the next look takes its
blobs and keys away. *Safe to repeat:* yes.
"""

import asyncio
import functools
import json
import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from azure.storage.blob import BlobServiceClient

from vmkiln.azure_names import STORAGE_ACCOUNT
from vmkiln.blobs.account_keys import NAMES, AccountKeys, is_users
from vmkiln.blobs.blob_endpoint import BlobEndpoint, BlobService, write_endpoint
from vmkiln.blobs.blob_server import Azurite, BlobFolder, new_own_word, supervise
from vmkiln.blobs.blob_upload import Destination, Uploader, UploadStopped, withdraw
from vmkiln.errors import InputError
from vmkiln.files.durable_file import write_whole
from vmkiln.lifetime import owned_tasks
from vmkiln.lifetime.owned_tasks import OnUnasked
from vmkiln.lifetime.rounds import Rounds
from vmkiln.lifetime.things import Things
from vmkiln.run_state import GOING_ON
from vmkiln.settings import Settings
from vmkiln.staging.storage_account import StorageAccount, account_name
from vmkiln.store.database import Store, utc_now
from vmkiln.waiting.off_loop import in_round, off_loop

logger = logging.getLogger(__name__)

LOGS_SECONDS = 1.5  # an append blob takes 50,000 appends: 20 hours of these
LOOK_SECONDS = 20.0
RECENT = timedelta(seconds=10)  # how long after a run's end its log may still grow, clocks of a fleet included
OWN_WORD = "x-vmkiln-own"  # the header with it; see `azurite/access.cjs`
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
    """The blobs, kept up to date while `serve` goes on."""

    settings: Settings
    store: Store
    azurite: Azurite | None
    external: BlobServiceClient | None = None
    look_seconds: float = LOOK_SECONDS
    rounds: Rounds = field(default_factory=Rounds)
    _url: str = ""
    _own_word: str = field(default="", repr=False)
    _told_subscriptions: dict[str, str] | None = None
    _stop: threading.Event = field(default_factory=threading.Event)

    async def serve(self, *, on_unasked: OnUnasked = owned_tasks.nothing) -> None:
        """Serve and send until cancelled; without a blob server there is nothing to do meanwhile."""
        await off_loop(write_endpoint, self.settings.blob_endpoint, None)
        if self.external is not None:
            await off_loop(self._changed, BlobEndpoint(BlobService.EXTERNAL, str(self.external.url).rstrip("/")))
            await self._together(on_unasked)
        elif self.azurite is None:
            logger.info("Azurite is not installed, so logs are read over the service only (`vmkiln storage install`)")
            await owned_tasks.for_ever()
        else:
            await off_loop(self.keys.ensure, [])
            self._own_word = await off_loop(new_own_word, BlobFolder(self.settings.blobs))
            await self._together(on_unasked, self.azurite)

    @property
    def keys(self) -> AccountKeys:
        """The keys of the accounts."""
        return AccountKeys(BlobFolder(self.settings.blobs).keys)

    async def _together(self, on_unasked: OnUnasked, azurite: Azurite | None = None) -> None:
        logs = _Passes(self, Uploader(is_for_logs=True, stop=self._stop), lambda: None)
        rest = _Passes(self, Uploader(is_for_logs=False, stop=self._stop), self._withdraw_deleted)
        try:
            async with owned_tasks.opened(on_unasked=on_unasked) as tasks:
                if azurite is not None:
                    folder = BlobFolder(self.settings.blobs)
                    most = self.settings.most_blob_mib
                    server = supervise(azurite, folder, self._server_changed, rounds=self.rounds, most_mib=most)
                    tasks.own("blob server", server)
                self.rounds.own(tasks, "blob logs", logs.once, seconds=LOGS_SECONDS, is_needed=False)
                self.rounds.own(tasks, "blobs", rest.once, seconds=LOGS_SECONDS, is_needed=False)
                await owned_tasks.for_ever()
        finally:
            self._stop.set()
            await off_loop(self._changed, None)

    def _server_changed(self, url: str) -> None:
        self._changed(BlobEndpoint(BlobService.AZURITE, url) if url else None)

    def _changed(self, endpoint: BlobEndpoint | None) -> None:
        write_endpoint(self.settings.blob_endpoint, endpoint)
        self._url = endpoint.url if endpoint else ""

    def destination(self, account: str) -> Destination:
        """Where an account's blobs go."""
        if self.external is not None:
            return Destination(self.external, account)
        credential = {"account_name": account, "account_key": self.keys.of(account)[0]}
        headers = {OWN_WORD: self._own_word}
        url = f"{self._url}/{account}"
        return Destination(BlobServiceClient(url, credential=credential, headers=headers, **FEW_RETRIES))

    @property
    def is_up(self) -> bool:
        """Whether anything can be sent now."""
        return bool(self._url)

    def groups_with_runs(self, since: datetime) -> set[str]:
        """The groups of the runs that go on, and of those that ended after a moment."""
        runs = [*self.store.runs.list(limit=None, states=GOING_ON), *self.store.runs.ended_since(since)]
        return {run.staging_group for run in runs if run.staging_group}

    def group_names(self) -> set[str]:
        return {row.name for row in self.store.staging.list_groups()}

    def publish(self, uploader: Uploader, groups: Iterable[str], things: Things[str]) -> None:
        """Send what is new of these groups; of one that cannot be sent, nothing is kept in mind."""
        for group in things.in_turn(sorted(groups)):
            account = account_of(self.settings, group)
            with things.tried(group):
                if account.directory.is_dir():
                    try:
                        uploader.publish(account, self.destination(account.name))
                    except UploadStopped:
                        return
                    except Exception:
                        uploader.forget(account.name)
                        raise

    def _withdraw_deleted(self) -> None:
        """Take away what belonged to groups, and to accounts of users, that are gone."""
        accounts = set(self.keys.all()) if self.external is None else self._external_accounts()
        # after the keys: who has keys had a group before, or was on record
        left = {account_name(name) for name in self.group_names()}
        users = {row.name: row.subscription_id for row in self.store.resources.list(type=STORAGE_ACCOUNT)}
        self._tell_subscriptions(users)
        left |= users.keys()
        if self.external is None:  # of users' accounts, which have the only copy, those that somebody deleted
            left |= {name for name in accounts if is_users(name)} - self.keys.deleted()
        for account in self._deleted.in_turn(sorted(accounts - left)):
            with self._deleted.tried(account):
                self._withdraw(account)

    def _tell_subscriptions(self, users: dict[str, str]) -> None:
        """Write down whose accounts are whose, for what a subscription holds has a bound."""
        if self.external is None and users != self._told_subscriptions:
            write_whole(BlobFolder(self.settings.blobs).subscriptions, json.dumps(users).encode())
            self._told_subscriptions = users

    def _withdraw(self, account: str) -> None:
        if self.external is None:
            for name in NAMES:  # whoever still knows a key of it, or has a signature, writes nothing any more
                self.keys.renew(account, name)
        withdraw(self.destination(account))
        if self.external is None:
            self.keys.forget([account])

    @functools.cached_property
    def _deleted(self) -> Things[str]:
        return Things[str](self.rounds, "blobs of a deleted account")

    def _external_accounts(self) -> set[str]:
        """The containers that accounts of groups, deleted ones too, have in the account from outside."""
        assert self.external is not None  # its only caller has looked
        ours = {account_name(row.name) for row in self.store.staging.list_groups(with_deleted=True)}
        return {container.name for container in self.external.list_containers()} & ours


class _Passes:
    """Sends what is new, pass by pass: of all groups at first, then of new ones and those with runs.

    A run may begin and end between two passes, so those that ended since the last one count too.
    """

    def __init__(self, blobs: BlobStorage, uploader: Uploader, look_around: Callable[[], None]) -> None:
        self._blobs = blobs
        self._uploader = uploader
        self._look_around = look_around
        self._known: set[str] = set()
        self._failed: set[str] = set()
        self._since = utc_now()
        self._next_look = 0.0
        self._groups = Things[str](blobs.rounds, "logs of a group" if uploader.is_for_logs else "blobs of a group")

    async def once(self) -> None:
        """One pass, when there is a server. After an error the next one sends everything that is missing."""
        if not self._blobs.is_up:
            return
        try:
            await self._pass()
        except Exception:
            self._uploader.forget()
            self._known, self._next_look = set(), 0.0
            raise

    async def _pass(self) -> None:
        loop, blobs = asyncio.get_running_loop(), self._blobs
        began = utc_now()
        groups = await in_round(blobs.groups_with_runs, self._since - RECENT)
        is_looking = loop.time() >= self._next_look
        names: set[str] = set()
        if is_looking:
            names = await in_round(blobs.group_names)
            groups |= names - self._known
            await in_round(self._look_around)
        groups |= self._failed
        await in_round(blobs.publish, self._uploader, groups, self._groups)
        self._failed = self._groups.failing()
        if is_looking:
            self._known, self._next_look = names, loop.time() + blobs.look_seconds
        self._since = began
