"""The keys of storage accounts: two random ones each, in a file that only the service's user can read.

The blob server reads the same file, so an account is there as soon as it has keys, and gone as soon as it has none.

*Leaves behind:* the file. *Undone by:* `forget`. *Safe to repeat:* yes.
Source: Azure's account keys are 64 random bytes in base64, `key1` and `key2`, so that one can be replaced in use.
"""

import base64
import contextlib
import json
import secrets
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vmkiln.files import locks
from vmkiln.files.durable_file import make_folder, reported, write_whole

KEY_BYTES = 64
LETTERS_OF_A_BUILDS_ACCOUNT = 24
NAMES = ("key1", "key2")
Keys = tuple[str, str]


def is_users(account: str) -> bool:
    """Whether an account of this name is a user's: those of builds have 24 letters, and users' have fewer; pure."""
    return len(account) < LETTERS_OF_A_BUILDS_ACCOUNT


def new_key() -> str:
    """64 random bytes in base64."""
    return base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()


@dataclass(frozen=True)
class AccountKeys:
    """The keys in a file `{"account": ["first key", "second key"]}` of mode 0600; changed under a lock, whole."""

    file: Path

    def all(self) -> dict[str, Keys]:
        """The keys of every account; none without the file. Raises: `StorageFailed` when it cannot be read."""
        with reported(f"reading {self.file}"):
            try:
                found = json.loads(self.file.read_text())
            except FileNotFoundError:
                return {}
        return {name: (keys[0], keys[1]) for name, keys in found.items()}

    def of(self, account: str) -> Keys:
        """An account's keys, made when it has none."""
        found = self.all().get(account)
        return found if found is not None else self.ensure([account])[account]

    def ensure(self, accounts: Sequence[str]) -> dict[str, Keys]:
        """Give keys to the accounts that have none; returns the keys of all accounts."""
        with self._locked():
            found = self.all()
            missing = [account for account in accounts if account not in found]
            if missing or not self.file.exists():
                found |= {account: (new_key(), new_key()) for account in missing}
                self._write(found)
        return found

    def renew(self, account: str, name: str) -> Keys:
        """Replace `key1` or `key2` of an account; the old one is worth nothing from then on."""
        with self._locked():
            found = self.all()
            first, second = found.get(account) or (new_key(), new_key())
            found[account] = (new_key(), second) if name == NAMES[0] else (first, new_key())
            self._write(found)
        return found[account]

    def forget(self, accounts: Sequence[str]) -> None:
        """Take the keys of accounts away; content when they have none."""
        with self._locked():
            found = self.all()
            left = {name: keys for name, keys in found.items() if name not in accounts}
            if left != found:
                self._write(left)
            if gone := self.deleted() & {*accounts}:
                self._write_deleted(self.deleted() - gone)

    def mark_deleted(self, account: str) -> None:
        """Say that somebody deleted an account, so that what it held may go; content when it has no keys.

        An account that is merely not on record is not that: an older database may have been restored.
        """
        with self._locked():
            if account in self.all():
                self._write_deleted({*self.deleted(), account})

    def deleted(self) -> set[str]:
        """The accounts that were deleted and still have keys. Raises: `StorageFailed` when that cannot be read."""
        with reported(f"reading {self._deleted_file}"):
            try:
                return {str(name) for name in json.loads(self._deleted_file.read_text())}
            except FileNotFoundError:
                return set()

    @property
    def _deleted_file(self) -> Path:
        return self.file.with_name("deleted.json")

    def _write_deleted(self, accounts: Collection[str]) -> None:
        write_whole(self._deleted_file, json.dumps(sorted(accounts)).encode())

    def _write(self, accounts: dict[str, Keys]) -> None:
        write_whole(self.file, json.dumps(accounts).encode())

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        make_folder(self.file.parent)
        with contextlib.ExitStack() as stack:
            with reported("locking the keys of storage accounts"):
                stack.enter_context(locks.exclusive(self.file.with_suffix(".lock")))
            yield
