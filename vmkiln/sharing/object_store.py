"""The object store that the hosts of a fleet share: Azure Blob storage, S3, or a directory that all of them mount.

An object appears whole or not at all: clouds promise that of a put, in a directory a file gets its name when it is on
disk. Nothing large is held in memory. Credentials come from the environment (AZURE_STORAGE_..., AWS_...) and are in no
message.

*Leaves behind:* objects; of an interrupted put, parts that nobody sees (a rule of the bucket, or the next
reconciliation, removes them). *Undone by:* `delete`. *Safe to repeat:* yes.
Source: the crate object_store, `ObjectStore::put` and `put_multipart`; Azure Storage, "Configure connection strings".
"""

import contextlib
import errno
import hashlib
import os
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import AzureStore, LocalStore, S3Store

from vmkiln.errors import ImageUnsafe, InputError, ObjectMissing, SharedStorageFailed
from vmkiln.files.durable_file import part_of
from vmkiln.files.private_folder import private_folder
from vmkiln.setting_texts.servers import OBJECT_STORE_HINT
from vmkiln.waiting.off_loop import go_on

BLOCK_BYTES = 8 * 1024**2
MOST_PARTS = 9000  # S3 takes 10,000 parts of one object
PARTS_AT_ONCE = 4
ATTEMPTS = 20
HOLE_BYTES = 1024**2
HOLE = bytes(HOLE_BYTES)
UNFINISHED = ".part"
AZURE_CONNECTION = "AZURE_STORAGE_CONNECTION_STRING"
SECRET_NAMES = re.compile(r"(AZURE|AWS)_\w*(KEY|SECRET|TOKEN|CONNECTION_STRING)\w*", re.IGNORECASE)
RETRIES: Any = {"max_retries": 5, "retry_timeout": timedelta(seconds=60)}
TIMEOUTS = {"timeout": timedelta(seconds=180), "connect_timeout": timedelta(seconds=10)}


@dataclass(frozen=True)
class StoredObject:
    """One object: `tag` differs whenever its content was written anew; `changed` is by the store's clock (UTC)."""

    key: str
    size_bytes: int
    changed: datetime
    tag: str


class ObjectStore:
    """Objects under keys such as `images/a/b`. `name` is what messages call it; `secrets` are kept out of them."""

    def __init__(
        self, store: Any, name: str, *, directory: Path | None = None, secrets: Sequence[str] = (), hint: str = ""
    ) -> None:
        self.name = name
        self._store = store
        self._directory = directory
        self._secrets = [text for text in secrets if text]
        self._hint = hint

    def put(self, key: str, content: bytes) -> None:
        """Store a small object, in place of an older one. Raises: `SharedStorageFailed`."""
        with self._doing(f"storing {key}"):
            if self._directory is None:
                obstore.put(self._store, key, content, use_multipart=False)
            else:
                with self._named(self._directory / _checked(key)) as descriptor:
                    _write_all(descriptor, content)

    def put_file(self, key: str, file: Path, *, digest: str = "") -> None:
        """Store a file; with a SHA-256 what was stored is read again and compared. Raises: `SharedStorageFailed`."""
        size = file.stat().st_size
        with self._doing(f"storing {key}"):
            if self._directory is None:
                part = max(BLOCK_BYTES, -(-size // MOST_PARTS))
                obstore.put(self._store, key, file, chunk_size=part, max_concurrency=PARTS_AT_ONCE)
            else:
                with (
                    self._named(self._directory / _checked(key)) as descriptor,
                    file.open("rb", buffering=0) as content,
                ):
                    while chunk := content.read(HOLE_BYTES):
                        _write_sparse(descriptor, chunk)
                    os.ftruncate(descriptor, os.lseek(descriptor, 0, os.SEEK_CUR))
        if digest and (found := self.digest_of(key)) != digest:
            with contextlib.suppress(SharedStorageFailed):
                self.delete([key])
            raise SharedStorageFailed(f"{self.name} keeps other bytes of {key} than were sent: SHA-256 {found}")

    def get_file(self, key: str, target: Path, *, digest: str = "", mode: int = 0o600) -> None:
        """Fetch an object to a file, whole and on disk or not at all; zeros become holes. `mode` are its permissions.

        Raises: `ImageUnsafe` when a SHA-256 is given and the content has another; `ObjectMissing`,
        `SharedStorageFailed`.
        """
        private_folder(target.parent)
        hashed = hashlib.sha256()
        with part_of(target, mode=mode) as descriptor:
            for block in self.blocks(key):
                hashed.update(block)
                for start in range(0, len(block), HOLE_BYTES):
                    _write_sparse(descriptor, block[start : start + HOLE_BYTES])
            os.ftruncate(descriptor, os.lseek(descriptor, 0, os.SEEK_CUR))
            if digest and hashed.hexdigest() != digest:
                raise ImageUnsafe(
                    f"the object {key} in {self.name} is not what was put there",
                    hint="somebody or something changed it; delete the image and build it again",
                )

    def blocks(self, key: str) -> Iterator[bytes]:
        """An object's content from its beginning, in blocks. Raises: `ObjectMissing`, `SharedStorageFailed`."""
        size = self.look(key).size_bytes
        for position in range(0, size, BLOCK_BYTES):
            block = self.read_from(key, position, most_bytes=min(BLOCK_BYTES, size - position))
            if len(block) != min(BLOCK_BYTES, size - position):
                raise SharedStorageFailed(f"{key} in {self.name} became shorter while it was read")
            yield block

    def read_from(self, key: str, position: int, *, most_bytes: int = BLOCK_BYTES) -> bytes:
        """Up to `most_bytes` of an object from a position (bytes) on that lies inside it.

        Raises: `ObjectMissing`, `SharedStorageFailed`.
        """
        with self._doing(f"reading {key}"):
            return bytes(obstore.get_range(self._store, key, start=position, length=most_bytes))

    def digest_of(self, key: str) -> str:
        """The SHA-256 of what the store gives for a key, in hexadecimal. Raises: `SharedStorageFailed`."""
        hashed = hashlib.sha256()
        for block in self.blocks(key):
            hashed.update(block)
        return hashed.hexdigest()

    def look(self, key: str) -> StoredObject:
        """What is known of an object. Raises: `ObjectMissing`, `SharedStorageFailed`."""
        with self._doing(f"looking up {key}"):
            found = obstore.head(self._store, key)
        return StoredObject(key, found["size"], found["last_modified"], found["e_tag"] or "")

    def exists(self, key: str) -> bool:
        """Whether there is an object of this key. Raises: `SharedStorageFailed`."""
        try:
            self.look(key)
        except ObjectMissing:
            return False
        return True

    def objects(self, prefix: str, *, after: str = "", with_unfinished: bool = False) -> list[StoredObject]:
        """The objects below a folder, by key; only those behind `after`, when that is given.

        In a directory, `with_unfinished` shows what a process that died was writing, too.
        Raises: `SharedStorageFailed`.
        """
        with self._doing(f"listing {prefix}"):
            listed = obstore.list(self._store, prefix, offset=after or None, chunk_size=1000)
            found = [
                StoredObject(item["path"], item["size"], item["last_modified"], item["e_tag"] or "")
                for chunk in listed
                for item in chunk
            ]
        wanted = [item for item in found if item.key > after and (with_unfinished or not _is_unfinished(item.key))]
        return sorted(wanted, key=lambda item: item.key)  # not every store begins behind `after`, or sorts

    def folders(self, prefix: str) -> list[str]:
        """The names of the folders right below a folder. Raises: `SharedStorageFailed`."""
        with self._doing(f"listing {prefix}"):
            found = obstore.list_with_delimiter(self._store, prefix)["common_prefixes"]
        return sorted(path.rstrip("/").rpartition("/")[2] for path in found)

    def delete(self, keys: Sequence[str]) -> None:
        """Delete objects; content when they are gone. Raises: `SharedStorageFailed`."""
        for key in keys:
            with contextlib.suppress(ObjectMissing), self._doing(f"deleting {key}"):
                obstore.delete(self._store, key)

    @contextlib.contextmanager
    def _named(self, path: Path) -> Iterator[int]:
        """A file to be written, on disk and under its name when the block ends without an error."""
        assert self._directory is not None  # its only callers have looked
        if not self._directory.is_dir():
            raise OSError(errno.ENODEV, "the directory is not there, so it is not mounted")
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}{UNFINISHED}")
        try:
            descriptor, made = _opened_in_new_folders(temporary)
            try:
                yield descriptor
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            temporary.rename(path)
            for folder in (path.parent, *made):
                _sync_folder(folder)
        finally:
            temporary.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _doing(self, what: str) -> Iterator[None]:
        """Whatever goes wrong in the block becomes an error of ours, without keys. Raises: as `go_on`, too."""
        go_on()
        try:
            yield
        except FileNotFoundError as error:
            raise ObjectMissing(f"{what} failed: {self.name} has no such object", hint=self._hint or None) from error
        except (PermissionDeniedError, UnauthenticatedError, PermissionError) as error:
            hint = "look at the credentials (AZURE_STORAGE_..., AWS_...) and at what they allow"
            raise SharedStorageFailed(f"{what} failed: {self.name} refused: {self._told(error)}", hint=hint) from None
        except (BaseError, OSError, ValueError) as error:
            raise SharedStorageFailed(
                f"{what} in {self.name} failed: {self._told(error)}", hint=self._hint or None
            ) from None

    def _told(self, error: BaseException) -> str:
        """The first line of what a library says, without signatures of URLs and without keys."""
        text = re.sub(r"\?\S+", "?...", str(error).partition("\n")[0])
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text[:500]


def open_object_store(url: str, environment: Mapping[str, str]) -> ObjectStore:
    """The object store of a checked URL, with the credentials of the environment.

    Raises: `InputError` when they cannot be used, or the directory is not there.
    """
    parts = urlsplit(url)
    if parts.scheme == "file":
        directory = Path(unquote(parts.path))
        if not directory.is_dir():
            hint = "mount it on this host; it is never made here, for then it would not be shared"
            raise InputError(f"VMKILN_OBJECT_STORE: there is no directory {directory}", hint=hint)
        return ObjectStore(LocalStore(directory, automatic_cleanup=True), f"file://{directory}", directory=directory)
    prefix = parts.path.strip("/") or None
    secrets = [value for name, value in environment.items() if SECRET_NAMES.fullmatch(name)]
    name = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
    store: AzureStore | S3Store
    try:
        if parts.scheme == "az":
            given = connection_parts(environment.get(AZURE_CONNECTION, ""))
            secrets += [given[key] for key in ("account_key", "sas_key") if key in given]
            store = AzureStore(
                parts.netloc,
                prefix=prefix,
                config=given,  # type: ignore[arg-type]
                client_options=_client_options(given.get("endpoint", ""), environment, "AZURE"),
                retry_config=RETRIES,
            )
        elif parts.scheme == "s3":
            store = S3Store(
                parts.netloc,
                prefix=prefix,
                client_options=_client_options("", environment, "AWS"),
                retry_config=RETRIES,
            )
        else:
            raise InputError("VMKILN_OBJECT_STORE names no kind of store that is known here", hint=OBJECT_STORE_HINT)
    except BaseError as error:
        text = str(error).partition("\n")[0]
        raise InputError(f"VMKILN_OBJECT_STORE: {name} cannot be used: {text}", hint=_hint(parts.scheme)) from None
    return ObjectStore(store, name, secrets=secrets, hint=_hint(parts.scheme))


def _hint(scheme: str) -> str:
    if scheme == "az":
        return f"the container has to be there; {AZURE_CONNECTION}, or AZURE_STORAGE_ACCOUNT_NAME and ..._KEY, say how"
    return "the bucket has to be there; AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL say how"


def connection_parts(text: str) -> dict[str, str]:
    """What a connection string of Azure Storage says, in the library's words; pure. Raises: `InputError`."""
    if not text:
        return {}
    given = dict(item.split("=", 1) for item in text.split(";") if "=" in item)
    account, suffix = given.get("AccountName", ""), given.get("EndpointSuffix", "core.windows.net")
    scheme = given.get("DefaultEndpointsProtocol", "https")
    endpoint = given.get("BlobEndpoint") or f"{scheme}://{account}.blob.{suffix}"
    credentials = {"account_key": given.get("AccountKey"), "sas_key": given.get("SharedAccessSignature")}
    found = {name: value for name, value in credentials.items() if value}
    if not found or not (account or given.get("BlobEndpoint")):
        hint = "`az storage account show-connection-string` prints one"
        raise InputError(f"{AZURE_CONNECTION} cannot be used: it names no account or no key", hint=hint)
    account = account or (urlsplit(endpoint).hostname or "").partition(".")[0]
    return {"account_name": account, "endpoint": endpoint.rstrip("/"), **found}


def _client_options(endpoint: str, environment: Mapping[str, str], family: str) -> Any:
    """Plain HTTP only where an endpoint says so in so many words."""
    names = (f"{family}_ENDPOINT", f"{family}_ENDPOINT_URL", f"{family}_STORAGE_ENDPOINT")
    endpoints = (endpoint, *(environment.get(name, "") for name in names))
    return {**TIMEOUTS, "allow_http": any(item.startswith("http://") for item in endpoints)}


def _checked(key: str) -> str:
    """A key that stays in its folder. Raises: `ValueError`."""
    if any(part in {"", ".", ".."} for part in key.split("/")):
        raise ValueError(f"`{key}` is not a key")
    return key


def _is_unfinished(key: str) -> bool:
    name = key.rpartition("/")[2]
    return name.startswith(".") and name.endswith(UNFINISHED)


def _opened_in_new_folders(file: Path) -> tuple[int, list[Path]]:
    """Open a new file, its folders made; another process may be deleting such folders, being empty, meanwhile."""
    made: list[Path] = []
    for _ in range(ATTEMPTS):
        made += _made_folders(file.parent)
        with contextlib.suppress(FileNotFoundError):
            return os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), made
    raise OSError(errno.EAGAIN, f"{file.parent} is deleted again and again")


def _made_folders(folder: Path) -> list[Path]:
    """Make a folder; returns the folders in which one was made, so that they can be synced."""
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for item in reversed(missing):
        with contextlib.suppress(FileNotFoundError):
            item.mkdir(mode=0o700, exist_ok=True)
    return [item.parent for item in missing]


def _write_all(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def _write_sparse(descriptor: int, chunk: bytes) -> None:
    """Write a chunk, or leave a hole where it is all zeros."""
    if chunk == HOLE:
        os.lseek(descriptor, len(chunk), os.SEEK_CUR)
    else:
        _write_all(descriptor, chunk)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
