"""The keys of a service: those that secrets are sealed with, and those that it signs with.

They lie in a folder of their own, apart from the database and from a back-up of the data, so that neither of the two
tells a secret alone. One file has them all; it is replaced as a whole, and read anew when it is another one, so a
process that goes on sees a key that a command made. Of a purpose the newest key is used for what is new; the older
ones stay, for what was sealed or signed with them. The hosts of a fleet share the folder, or copies of the file.

*Leaves behind:* the folder. *Safe to repeat:* a key is made once, under a lock.
"""

import base64
import binascii
import json
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from vmkiln.errors import InputError, KeyUnavailable
from vmkiln.files import locks
from vmkiln.files.durable_file import make_folder, reported, write_whole

FILE = "keys.json"
MOST_KEYS = 100  # of one purpose
SECRET_BYTES = 32  # AES-256


def keys_beside(home: Path) -> Path:
    """Where the keys are when nobody says otherwise: beside the state directory, so that no back-up of it has them."""
    return home.with_name(f"{home.name}-keys")


class Purpose(StrEnum):
    """What a key is for."""

    SECRETS = "secrets"
    SIGNING = "signing"
    IMAGES = "images"


@dataclass(frozen=True)
class Key:
    """A key: its id, what it is for, when it was made (UTC), what is secret of it, and what may be shown (PEM).

    A key that signs no more has nothing that is secret; it still tells what it signed.
    """

    key_id: str
    purpose: Purpose
    created: datetime
    secret: bytes = field(repr=False)
    public: str = ""


@dataclass(frozen=True)
class Material:
    """What a new key consists of; its id, when what it is used for has one."""

    secret: bytes = field(repr=False)
    public: str = ""
    key_id: str = ""


def new_secret() -> Material:
    """A new key to seal with."""
    return Material(secrets.token_bytes(SECRET_BYTES))


class KeyRing:
    """The keys in a folder, which is made with the first one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._seen: tuple[int, ...] = ()
        self._keys: tuple[Key, ...] = ()

    @property
    def file(self) -> Path:
        """Where the keys are."""
        return self.folder / FILE

    def keys(self, purpose: Purpose) -> list[Key]:
        """The keys of a purpose, the newest last. Raises: `KeyUnavailable` when they cannot be read."""
        with self._lock:
            self._read()
            return [key for key in self._keys if key.purpose is purpose]

    def find(self, purpose: Purpose, key_id: str) -> Key:
        """The key of this id. Raises: `KeyUnavailable` when it is not here."""
        found = next((key for key in self.keys(purpose) if key.key_id == key_id), None)
        if found is None:
            raise KeyUnavailable(
                f"the key {key_id} ({purpose}) is not in {self.file}",
                hint="put the file of the host that sealed it there, or its back-up: the setting `keys` says where",
            )
        return found

    def current(self, purpose: Purpose, make: Callable[[], Material]) -> Key:
        """The newest key of a purpose; one is made when there is none. Raises: as `keys`, `StorageFailed`."""
        if found := self.keys(purpose):
            return found[-1]
        return self._added(purpose, make, only_first=True)

    def rotate(self, purpose: Purpose, make: Callable[[], Material]) -> Key:
        """A new key of a purpose, used from now on. Raises: as `current`; `InputError` when there are too many."""
        return self._added(purpose, make, only_first=False)

    def forget_older(self, purpose: Purpose) -> None:
        """Keep of a purpose only the newest key. Raises: `KeyUnavailable`, `StorageFailed`."""
        with reported(f"deleting keys in {self.folder}"), locks.exclusive(self.folder / "lock"):
            newest = self.keys(purpose)[-1:]
            self._write([*self._others(purpose), *newest])

    def _added(self, purpose: Purpose, make: Callable[[], Material], *, only_first: bool) -> Key:
        make_folder(self.folder)
        with reported(f"making a key in {self.folder}"), locks.exclusive(self.folder / "lock"):
            before = self.keys(purpose)
            if before and only_first:  # another process was faster
                return before[-1]
            if len(before) >= MOST_KEYS:
                raise InputError(f"there are {MOST_KEYS} keys ({purpose}) in {self.file}, and no more are kept")
            material = make()
            key_id = material.key_id or secrets.token_hex(8)
            made = Key(key_id, purpose, datetime.now(UTC), material.secret, material.public)
            if any(key.key_id == key_id for key in before):
                raise InputError(f"the key {key_id} is in {self.file} already")
            self._write([*self._others(purpose), *map(_retired, before), made])
            return made

    def _others(self, purpose: Purpose) -> list[Key]:
        return [key for key in self._keys if key.purpose is not purpose]

    def _write(self, keys: list[Key]) -> None:
        told = [
            {
                "id": key.key_id,
                "purpose": str(key.purpose),
                "created": key.created.isoformat(),
                "secret": base64.b64encode(key.secret).decode(),
                "public": key.public,
            }
            for key in keys
        ]
        write_whole(self.file, json.dumps({"keys": told}, indent=1).encode() + b"\n")

    def _read(self) -> None:
        try:
            found = self.file.stat()
        except FileNotFoundError:
            self._seen, self._keys = (), ()
            return
        except OSError as error:
            raise _unreadable(self.file, error) from error
        seen = (found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size)
        if seen == self._seen:
            return
        try:
            told = json.loads(self.file.read_bytes())
            self._keys = tuple(sorted(map(_key, told["keys"]), key=lambda key: key.created))
        except (OSError, ValueError, KeyError, TypeError, binascii.Error) as error:
            raise _unreadable(self.file, error) from error
        self._seen = seen


def _retired(key: Key) -> Key:
    """A key that another one takes the place of: what it sealed is still to be read, and it signs no more; pure."""
    return key if key.purpose is Purpose.SECRETS else Key(key.key_id, key.purpose, key.created, b"", key.public)


def _key(told: dict[str, str]) -> Key:
    created = datetime.fromisoformat(told["created"])
    secret = base64.b64decode(told["secret"], validate=True)
    return Key(str(told["id"]), Purpose(told["purpose"]), created, secret, str(told.get("public", "")))


def _unreadable(file: Path, error: Exception) -> KeyUnavailable:
    told = error.strerror if isinstance(error, OSError) else type(error).__name__
    return KeyUnavailable(f"the keys in {file} cannot be read: {told}", hint="put their back-up there")
