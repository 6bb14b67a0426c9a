"""What the hosts of a fleet share beside the database: images, and the files of staging resource groups.

A key is a file's path below the state directory, so every host has the files where it expects them. Each kind of file
has one writer: the service the scripts, the host of a run its logs and its firewall rules; everybody else pulls.
Without `VMKILN_OBJECT_STORE` there is nothing of this.

*Leaves behind:* objects. *Undone by:* deleting groups and images; whatever that misses, `reconcile`.
*Safe to repeat:* yes.
"""

import asyncio
import contextlib
import functools
import logging
import os
import shutil
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path

from vmkiln.azure_names import LOG_FILES
from vmkiln.errors import ImageNotFound, ImageUnsafe, ObjectMissing, SharedStorageFailed, VmkilnError
from vmkiln.lifetime import owned_tasks
from vmkiln.lifetime.owned_tasks import OnUnasked
from vmkiln.lifetime.rounds import Rounds
from vmkiln.lifetime.things import Things
from vmkiln.run_state import GOING_ON
from vmkiln.settings import Settings
from vmkiln.sharing.log_pieces import FollowedLog, log_of
from vmkiln.sharing.object_store import ObjectStore, StoredObject, open_object_store
from vmkiln.sharing.sent_run import FILES, SentRun
from vmkiln.sharing.shared_images import SharedImages, one_at_a_time
from vmkiln.staging import run_directory
from vmkiln.staging.storage_account import LOGS, VHDS, account_name
from vmkiln.store.database import Store
from vmkiln.store.rows import ImageRow, ResourceRow, RunRow
from vmkiln.waiting.off_loop import in_round, in_round_of_a_run

log = logging.getLogger(__name__)

STAGING = "staging"
LOGS_SECONDS = 1.5
LOOK_SECONDS = 20.0
CLOCK_SECONDS = 0.001  # times of files and of objects are kept in different fractions
RECENT_RUNS = 200
MOST_WHOLE = 1000  # runs of which is remembered that they are all here
DATABASE_MARK = "vmkiln-database"
MOST_STORES = 64  # names under which hosts know this store, of which is remembered that it has its mark
TRIED = "vmkiln-tried"  # one object of all hosts, so that a host which dies leaves one at most
DATABASE_ID = "/vmkiln/sharedStorage"


def shared_storage(settings: Settings, store: Store, *, rounds: Rounds | None = None) -> "SharedStorage | None":
    """What the settings name; none when there is one host. Raises: `InputError` when it cannot be used."""
    if not settings.object_store:
        return None
    return SharedStorage(settings, store, open_object_store(settings.object_store, os.environ), rounds=rounds)


class SharedStorage:
    """The shared files of staging resource groups, and `images`. Methods that are not async block.

    Any thread and any process of a host may call any of them at any time.
    """

    def __init__(self, settings: Settings, store: Store, objects: ObjectStore, *, rounds: Rounds | None = None) -> None:
        self.images = SharedImages(settings, store, objects)
        self._settings = settings
        self._store = store
        self._objects = objects
        self._followed: dict[str, FollowedLog] = {}  # the logs of runs that have not ended
        self._unsent: dict[str, SentRun] = {}
        self._whole: dict[str, None] = {}  # ended runs whose logs are all here, the last ones
        self.look_seconds = LOOK_SECONDS
        self.rounds = rounds or Rounds()
        self._logs = Things[str](self.rounds, "shared log of a run")
        self._groups = Things[str](self.rounds, "shared files of a group")

    # what a submission made

    def push_submission(self, group: str) -> None:
        """Store what the submission of a template put into its group: scripts, files. Raises: `SharedStorageFailed`."""
        account = self._account(group)
        for file in sorted(account.rglob("*")):
            if file.is_file() and _kind_of(file.relative_to(account)) not in {LOGS, VHDS, ""}:
                self._objects.put_file(self._key(file), file)
                _same_time(file, self._objects.look(self._key(file)))

    def pull_for_attempt(self, group: str, run_id: str) -> None:
        """Fetch what an attempt needs: what the submission stored, and the log of earlier attempts, which goes on.

        It asks for the containers, and for what is in those, so it costs the same however many runs there were.
        Raises: `SharedStorageFailed`, also when the store lacks its mark: a directory that is not mounted any more
        looks like a store that has nothing.
        """
        self._check_database()
        with one_at_a_time(self._settings, f"{STAGING}/{group}"):
            if self._store.staging.group(group) is None:
                return
            account = f"{STAGING}/{group}/{account_name(group)}"
            for container in self._objects.folders(account):
                if container not in {LOGS, VHDS}:
                    for item in self._objects.objects(f"{account}/{container}"):
                        self._pull_file(item)
            self._pull_logs(group, run_id)

    def pull(self, group: str) -> None:
        """Fetch all that a group has and this host lacks: scripts, files, rules, logs of runs elsewhere.

        One listing tells what is missing. Raises: `SharedStorageFailed`.
        """
        with one_at_a_time(self._settings, f"{STAGING}/{group}"):
            if self._store.staging.group(group) is None:
                return
            logs: dict[str, list[StoredObject]] = {}
            for item in self._objects.objects(f"{STAGING}/{group}"):
                if item.key.split("/")[3:4] == [LOGS]:
                    logs.setdefault(log_of(item.key), []).append(item)
                else:
                    self._pull_file(item)
            for name, pieces in sorted(logs.items()):
                self._pull_log_file(name, pieces)

    def _pull_file(self, item: StoredObject) -> None:
        """Fetch a file that is not here, or not as it is there."""
        if not _is_plain(item.key):
            return
        file = self._settings.home / item.key
        if file.is_file():
            here = file.stat()
            if here.st_size == item.size_bytes and item.changed.timestamp() <= here.st_mtime + CLOCK_SECONDS:
                return
        with contextlib.suppress(ObjectMissing):  # deleted meanwhile
            self._objects.get_file(item.key, file)
            _same_time(file, item)

    def _pull_log_file(self, name: str, pieces: Sequence[StoredObject]) -> None:
        run_id = name.split("/")[-2]
        if not _is_plain(name) or run_directory.is_live(self._settings.runs, run_id):
            return  # a run that goes on here writes its log itself
        followed = self._followed.get(name) or FollowedLog(self._objects, name)
        with contextlib.suppress(ObjectMissing):
            followed.take(self._settings.home / name, pieces)

    # runs

    @contextlib.asynccontextmanager
    async def mirrored(self, *, run_id: str, attempt: int, group: str = "") -> AsyncIterator[None]:
        """Store a run's logs and rules while the block lasts, every 1.5 s and at its end.

        `group` is its staging resource group; one that is not known yet is read from its record. A run never fails for
        it: what cannot be sent is sent later, by `reconcile`.
        """
        sender = SentRun(self._settings, self._store, self._objects, run_id, attempt, group)
        await asyncio.to_thread(self._wait_for_pulls, sender)
        try:
            async with owned_tasks.opened(on_unasked=owned_tasks.nothing) as tasks:  # it ends its run, no more
                send = functools.partial(in_round_of_a_run, sender.send)
                pace = {"seconds": LOGS_SECONDS, "is_late_first": True, "is_needed": False, "may_end": True}
                self.rounds.own(tasks, "run log", send, **pace)
                yield
        finally:
            await asyncio.shield(asyncio.to_thread(self._send_last, sender))

    def _wait_for_pulls(self, sender: SentRun) -> None:
        """Wait until a fetch of the run's log has ended; a later one sees that the run goes on here."""
        if group := sender.known_group():
            with one_at_a_time(self._settings, f"{STAGING}/{group}"):
                pass

    def _send_last(self, sender: SentRun) -> None:
        try:
            sender.send()
            self._unsent.pop(sender.run_id, None)
        except (VmkilnError, OSError) as error:
            sender.warn(error)
            self._unsent[sender.run_id] = sender

    async def follow(self, *, on_unasked: OnUnasked = owned_tasks.nothing) -> None:
        """Fetch the logs and files of runs on other hosts until cancelled; they are read here like our own."""
        logs, rest = _repeated(self._follow_logs), _repeated(self._follow_the_rest)
        async with owned_tasks.opened(on_unasked=on_unasked) as tasks:
            self.rounds.own(tasks, "shared logs", logs, seconds=LOGS_SECONDS, is_needed=False)
            self.rounds.own(tasks, "shared files", rest, seconds=self.look_seconds, is_needed=False)
            await owned_tasks.for_ever()

    def _follow_logs(self, last: set[str]) -> set[str]:
        """The logs of runs that go on, and of those that went on the last time."""
        live = {run.run_id for run in self._store.runs.list(limit=None, states=GOING_ON)}
        runs = self._store.runs.by_id(sorted(live | last))
        for run_id in self._logs.in_turn(runs):
            with self._logs.tried(run_id):
                if group := runs[run_id].staging_group:
                    self._pull_run(group, run_id, has_ended=runs[run_id].ended is not None)
        return live | self._logs.failing()

    def _follow_the_rest(self, known: set[str]) -> set[str]:
        """Groups not seen before, the logs of runs that have ended, and their groups' VHDs."""
        names = {row.name for row in self._store.staging.list_groups()}
        recent = self._store.runs.list(limit=RECENT_RUNS)
        ended = [run for run in recent if run.ended and run.run_id not in self._whole and run.staging_group in names]
        new = (names - known) | {run.staging_group for run in ended}
        for group in self._groups.in_turn(sorted(new)):
            with self._groups.tried(group):
                self._follow_group(
                    group, [run for run in ended if run.staging_group == group], is_new=group not in known
                )
        return names - self._groups.failing()

    def _follow_group(self, group: str, ended: Sequence[RunRow], *, is_new: bool) -> None:
        """Fetch all of a new group, the logs of runs that have ended, and its VHDs."""
        if is_new:
            self.pull(group)
        for run in () if is_new else ended:
            self._pull_run(group, run.run_id, has_ended=True)
        for image in self._store.images.list(prefix=f"/staging/{group}/{VHDS}/"):
            try:
                self.images.fetch(image)
            except (ImageNotFound, ImageUnsafe) as error:
                log.warning("a VHD cannot be shown here: %s", error)
        for run in ended:
            self._is_whole(run.run_id)

    def _is_whole(self, run_id: str) -> None:
        """Remember that all of an ended run is here; of the runs before the last ones it is asked for again."""
        self._whole[run_id] = None
        for oldest in list(self._whole)[:-MOST_WHOLE]:
            self._whole.pop(oldest, None)

    def pull_log(self, group: str, run_id: str) -> bool:
        """Fetch what is new of a run's logs, because somebody reads them; false when that failed.

        What a run wrote is all there when it was recorded as ended before this was called.
        """
        run = self._store.runs.by_id([run_id]).get(run_id)
        if run is None or run_id in self._whole:
            return True
        try:
            self._pull_run(group, run_id, has_ended=run.ended is not None)
        except (VmkilnError, OSError) as error:
            log.warning("the log of run %s could not be fetched: %s", run_id, error)
            return False
        if run.ended is not None:
            self._is_whole(run_id)
        return True

    def _pull_run(self, group: str, run_id: str, *, has_ended: bool) -> None:
        """Fetch what is new of a run's logs and rules. Of which attempt they are is remembered until it has ended."""
        folder = f"{STAGING}/{group}"
        with one_at_a_time(self._settings, folder):
            names = self._pull_logs(group, run_id)
            if has_ended:
                for name in names:
                    self._followed.pop(name, None)
            if not run_directory.is_live(self._settings.runs, run_id):
                for name in FILES:
                    with contextlib.suppress(ObjectMissing):
                        self._pull_file(self._objects.look(f"{folder}/{name}"))

    def _pull_logs(self, group: str, run_id: str) -> list[str]:
        """Fetch what is new of a run's logs; gives their names."""
        logs = f"{STAGING}/{group}/{account_name(group)}/{LOGS}/{run_id}"
        pieces = self._objects.objects(logs)
        names = [f"{logs}/{file}" for file in LOG_FILES.values()]
        for name in names:
            self._followed.setdefault(name, FollowedLog(self._objects, name))
            self._pull_log_file(name, [piece for piece in pieces if log_of(piece.key) == name])
        return names

    def try_out(self) -> None:
        """Write and read what a build would, and delete it. Raises: `SharedStorageFailed` when that cannot be done."""
        self._check_database()
        self._objects.put(TRIED, TRIED.encode())
        self._objects.delete([TRIED])

    # going away

    def delete_group(self, group: str) -> None:
        """Delete what is stored of a group; what cannot be deleted now is deleted by `reconcile`."""
        try:
            self._delete_folder(group)
        except SharedStorageFailed as error:
            log.warning("the shared files of %s are not deleted yet: %s", group, error)

    def delete_image(self, image: ImageRow) -> None:
        """Delete what is stored of an image whose record is gone; if it cannot be now, `reconcile` does."""
        try:
            self.images.delete(image)
        except SharedStorageFailed as error:
            log.warning("the shared file of %s is not deleted yet: %s", image.artifact_id, error)

    def _delete_folder(self, group: str) -> None:
        self._objects.delete([item.key for item in self._objects.objects(f"{STAGING}/{group}", with_unfinished=True)])

    def reconcile(self) -> list[str]:
        """Send what could not be sent; delete the objects that nobody names, and what this host has of deleted groups.

        Returns what was deleted. Raises: `SharedStorageFailed`, also when the storage belongs to another database:
        what that one names is not for us to delete.
        """
        for sender in list(self._unsent.values()):
            self._send_last(sender)
        self._check_database()
        stored = set(self._objects.folders(STAGING))
        here = {path.name for path in self._settings.staging.iterdir()} if self._settings.staging.is_dir() else set()
        known = {row.name for row in self._store.staging.list_groups()}  # after them: it is recorded before it is made
        gone, unknown = here - known, stored - known
        if gone or unknown:  # what this database never knew is another one's, or newer than a back-up that was restored
            deleted = {row.name for row in self._store.staging.list_groups(with_deleted=True)}
            gone, unknown = gone & deleted, unknown & deleted
        for group in unknown:
            self._delete_folder(group)
        for group in gone:
            shutil.rmtree(self._settings.staging / group, ignore_errors=True)
        return [*(f"{STAGING}/{group}" for group in sorted(unknown | gone)), *self.images.reconcile()]

    def _check_database(self) -> None:
        """Refuse the objects of another database, as with settings that belong to two fleets, and a store without mark.

        Under which names the store was seen to have it is on record, for hosts may mount one directory at many places.
        """
        row = self._store.resources.get(DATABASE_ID)
        if row is None:
            made = ResourceRow(DATABASE_ID, DATABASE_ID, "sharedStorage", "", "", properties={"id": str(uuid.uuid4())})
            row = self._store.resources.insert(made) or self._store.resources.get(DATABASE_ID)
        assert row is not None  # it was found, or inserted, and nobody deletes it
        own, used = str(row.properties["id"]), list(row.properties.get("used", ()))
        try:
            found = self._objects.read_from(DATABASE_MARK, 0).decode(errors="replace")
        except ObjectMissing:
            if self._objects.name in used:
                raise SharedStorageFailed(
                    f"{self._objects.name} lacks the object {DATABASE_MARK}, which was there before",
                    hint=f"mount it again; if it is to begin empty, put {DATABASE_MARK} with the text {own} there",
                ) from None
            self._objects.put(DATABASE_MARK, own.encode())
            found = own
        if found != own:
            raise SharedStorageFailed(
                f"{self._objects.name} belongs to another database, so nothing in it is deleted",
                hint=f"set VMKILN_DATABASE_URL as on the other hosts; the object {DATABASE_MARK} says which one it is",
            )
        if self._objects.name not in used:
            named = [*used, self._objects.name][-MOST_STORES:]
            self._store.resources.put(replace(row, properties={**row.properties, "used": named}))

    # names

    def _account(self, group: str) -> Path:
        return self._settings.staging / group / account_name(group)

    def _key(self, file: Path) -> str:
        return file.relative_to(self._settings.home).as_posix()


def _same_time(file: Path, item: StoredObject) -> None:
    """Remember that a file is what the object is, for later processes too."""
    os.utime(file, (item.changed.timestamp(), item.changed.timestamp()))


def _repeated(look: Callable[[set[str]], set[str]]) -> Callable[[], Awaitable[None]]:
    """A function that calls `look` in a thread, each time with its own result of the last call that succeeded."""
    seen: set[str] = set()

    async def once() -> None:
        nonlocal seen
        seen = await in_round(look, seen)

    return once


def _kind_of(relative: Path) -> str:
    """The container a file of an account is in; '' for one that is still being written."""
    is_unfinished = any(part.startswith(".") or part.endswith(".part") for part in relative.parts)
    return "" if is_unfinished else relative.parts[0]


def _is_plain(key: str) -> bool:
    """Whether a key names a file below the state directory, and no hidden one: who writes objects writes no path."""
    return not any(part.startswith(".") or not part or "\\" in part or "\0" in part for part in key.split("/"))
