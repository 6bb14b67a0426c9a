"""The containers of one account of our own blob server: listed, made, deleted.

*Leaves behind:* containers. *Undone by:* `delete`, or the account's end. *Safe to repeat:* yes.
Source: the Blob service REST API (List Containers, Create Container, Delete Container; names).
"""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from azure.core.exceptions import AzureError, ResourceExistsError, ResourceNotFoundError
from azure.storage.blob import BlobServiceClient

from vmkiln.errors import VmkilnError

NAME = re.compile(r"(?=.{3,63}$)[a-z0-9]+(-[a-z0-9]+)*")
MOST_LISTED = 5000  # Azure's page
ANSWER_SECONDS = 10


class BlobServerAway(VmkilnError):
    """The blob server does not answer, or refuses what it was asked."""


@dataclass(frozen=True)
class AccountContainers:
    """The containers of an account; `url` is the account's, `key` one of its keys."""

    url: str
    account: str
    key: str

    def names(self) -> list[str]:
        """At most 5000 of them, by name. Raises: `BlobServerAway`."""
        with self._client() as client:
            found: list[str] = []
            for container in client.list_containers():
                found.append(str(container.name))
                if len(found) == MOST_LISTED:
                    break
            return found

    def has(self, name: str) -> bool:
        """Whether there is one of this name. Raises: `BlobServerAway`."""
        with self._client() as client:
            return bool(client.get_container_client(name).exists())

    def make(self, name: str) -> bool:
        """Make one; false when it is there. Raises: `BlobServerAway`."""
        with self._client() as client:
            try:
                client.create_container(name)
            except ResourceExistsError:
                return False
            return True

    def delete(self, name: str) -> bool:
        """Delete one with its blobs; false when there is none. Raises: `BlobServerAway`."""
        with self._client() as client:
            try:
                client.delete_container(name)
            except ResourceNotFoundError:
                return False
            return True

    @contextlib.contextmanager
    def _client(self) -> Iterator[BlobServiceClient]:
        credential = {"account_name": self.account, "account_key": self.key}
        few: dict[str, Any] = {"retry_total": 0, "connection_timeout": 5, "read_timeout": ANSWER_SECONDS}
        try:
            with BlobServiceClient(self.url, credential=credential, **few) as client:
                yield client
        except AzureError as error:
            raise BlobServerAway(f"the blob server does not do it: {str(error)[:300]}") from error
