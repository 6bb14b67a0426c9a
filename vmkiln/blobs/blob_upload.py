"""Puts the files of a storage account where clients of the Azure Blob protocol find them.

Logs become append blobs that grow as the log does; scripts become block blobs; VHDs become page blobs, of which only
what is not zero is sent.

*Leaves behind:* the blobs. *Undone by:* `withdraw`. *Safe to repeat:* yes: what is there already is not sent again,
and a log goes on where its blob ends, whatever was interrupted.
Source: the Blob service REST API (Append Block with x-ms-blob-condition-appendpos, Put Page).
"""

import contextlib
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.storage.blob import (
    BlobClient,
    BlobLeaseClient,
    BlobProperties,
    BlobServiceClient,
    BlobType,
    ContainerClient,
    ContentSettings,
    StorageErrorCode,
)

from vmkiln.files.sparse_file import data_ranges
from vmkiln.staging.logs.log_index import is_index
from vmkiln.staging.storage_account import LOGS, VHDS, StorageAccount, log_type

CHUNK_BYTES = 4 * 1024**2
PAGE_BYTES = 512
SOURCE = "vmkilnsource"  # the metadata that says which file a blob is a whole copy of
Stamp = tuple[int, int]


class UploadStopped(Exception):
    """The service ends; what was being sent is sent anew at its next start."""


@dataclass(frozen=True)
class Destination:
    """Where an account's blobs go: a blob service, and in it one container for all of them when it is not ours.

    With a container of '', `packerlogs/<id>/customization.log` is blob `<id>/customization.log` of `packerlogs`.
    """

    service: BlobServiceClient
    container: str = ""

    def container_and_name(self, blob: str) -> tuple[str, str]:
        """The container and the name of a blob."""
        if self.container:
            return self.container, blob
        container, _, name = blob.partition("/")
        return container, name


@dataclass
class Uploader:
    """Remembers what it has sent; `is_for_logs` says whether it sends logs, or everything but logs.

    Two of them can work on one account at once, one of each kind.
    """

    is_for_logs: bool
    stop: threading.Event = field(default_factory=threading.Event)
    _sent: dict[tuple[str, str], Stamp] = field(default_factory=dict)
    _lengths: dict[tuple[str, str], int] = field(default_factory=dict)

    def publish(self, account: StorageAccount, destination: Destination) -> None:
        """Send what is new in an account. Raises: `AzureError` when the blob service refuses or is away."""
        for blob in account.blobs():
            container, _, _ = blob.partition("/")
            if "/" not in blob or is_unfinished(blob) or is_index(blob) or (container == LOGS) is not self.is_for_logs:
                continue
            file, key = account.directory / blob, (account.name, blob)
            try:
                stamp = stamp_of(file)
                if self._sent.get(key) == stamp:
                    continue
                self._send(key, file, destination, stamp)
            except FileNotFoundError:
                continue  # the group is being deleted
            self._sent[key] = stamp

    def forget(self, account_name: str | None = None) -> None:
        """Forget what was sent of one account, or of all: it is looked up again."""
        for memory in (self._sent, self._lengths):
            for key in [key for key in memory if account_name in {None, key[0]}]:
                del memory[key]

    def _send(self, key: tuple[str, str], file: Path, destination: Destination, stamp: Stamp) -> None:
        container, name = destination.container_and_name(key[1])
        client = destination.service.get_blob_client(container, name)
        try:
            self._send_once(key, file, client, stamp)
        except ResourceNotFoundError:  # there is no such container yet, or somebody deleted the blob
            self._lengths.pop(key, None)
            with contextlib.suppress(ResourceExistsError):
                destination.service.create_container(container)
            self._send_once(key, file, client, stamp)
        except BaseException:
            self._lengths.pop(key, None)
            raise

    def _send_once(self, key: tuple[str, str], file: Path, client: BlobClient, stamp: Stamp) -> None:
        if self.is_for_logs:
            length = self._lengths.get(key)
            start = opened_log(client, stamp[0], log_type(key[1])) if length is None else length
            self._lengths[key] = self._append(client, file, start)
        elif _source_of(found(client)) != _text(stamp):
            if key[1].startswith(f"{VHDS}/"):
                self._send_pages(client, file, stamp)
            else:
                with file.open("rb") as content:
                    client.upload_blob(content, overwrite=True, metadata={SOURCE: _text(stamp)})

    def _append(self, client: BlobClient, file: Path, position: int) -> int:
        """Send what is behind `position`; only if the blob ends there. Returns where it ends then."""
        with file.open("rb") as content:
            content.seek(position)
            while chunk := content.read(CHUNK_BYTES):
                self._go_on()
                client.append_block(chunk, length=len(chunk), appendpos_condition=position)
                position += len(chunk)
        return position

    def _send_pages(self, client: BlobClient, file: Path, stamp: Stamp) -> None:
        size = -(-stamp[0] // PAGE_BYTES) * PAGE_BYTES
        client.create_page_blob(size)
        with file.open("rb", buffering=0) as content:
            for offset, length in data_extents(content.fileno(), stamp[0]):
                self._go_on()
                chunk = os.pread(content.fileno(), length, offset)
                chunk += bytes(-len(chunk) % PAGE_BYTES)
                if chunk.strip(b"\0"):
                    client.upload_page(chunk, offset=offset, length=len(chunk))
        client.set_blob_metadata({SOURCE: _text(stamp)})

    def _go_on(self) -> None:
        if self.stop.is_set():
            raise UploadStopped


def is_unfinished(blob: str) -> bool:
    """Whether a file is still being written under another name, as everything that takes long is; pure."""
    return any(part.startswith(".") or part.endswith(".part") for part in blob.split("/"))


def stamp_of(file: Path) -> Stamp:
    """What tells one state of a file from another: size in bytes, time of change in ns."""
    state = file.stat()
    return state.st_size, state.st_mtime_ns


def _text(stamp: Stamp) -> str:
    return f"{stamp[0]}-{stamp[1]}"


def found(client: BlobClient) -> BlobProperties | None:
    """The blob's properties; none when it, or its container, is not there."""
    try:
        properties: BlobProperties = client.get_blob_properties()
    except ResourceNotFoundError:
        return None
    return properties


def _source_of(properties: BlobProperties | None) -> str:
    return "" if properties is None else (properties.metadata or {}).get(SOURCE, "")


def opened_log(client: BlobClient, file_bytes: int, media_type: str) -> int:
    """How much of a log has been sent; its blob is made when it is missing, or made anew when it is not that log."""
    properties = found(client)
    if properties is not None and properties.blob_type == BlobType.APPENDBLOB and properties.size <= file_bytes:
        return int(properties.size)
    if properties is not None:
        client.delete_blob(delete_snapshots="include")
    client.create_append_blob(content_settings=ContentSettings(content_type=media_type))
    return 0


def data_extents(descriptor: int, size: int) -> Iterator[tuple[int, int]]:
    """The parts of a file that hold data, as offset and length, in whole chunks; holes are left out (lseek(2))."""
    position = 0
    for start, end in data_ranges(descriptor, size):
        position = max(start // CHUNK_BYTES * CHUNK_BYTES, position)
        while position < end:
            length = min(CHUNK_BYTES, size - position)
            yield position, length
            position += length


def withdraw(destination: Destination) -> None:
    """Delete every blob and container of a destination."""
    if destination.container:
        with contextlib.suppress(ResourceNotFoundError):
            destination.service.delete_container(destination.container)
        return
    for container in destination.service.list_containers():
        _delete(destination.service.get_container_client(container.name))


def _delete(container: ContainerClient) -> None:
    """Delete a container, also one that somebody has leased: whose account is gone has no say."""
    try:
        container.delete_container()
    except HttpResponseError as error:
        if getattr(error, "error_code", None) != StorageErrorCode.LEASE_ID_MISSING:
            raise
        BlobLeaseClient(container).break_lease(lease_break_period=0)
        container.delete_container()
