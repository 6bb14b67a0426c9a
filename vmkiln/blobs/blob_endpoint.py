"""Where the blobs of storage accounts are served right now, as the service last wrote it down.

*Leaves behind:* a small file. *Undone by:* writing none. *Safe to repeat:* yes.
"""

import json
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_network
from pathlib import Path
from urllib.parse import urlsplit

from vmkiln.fetching.server_rule import PrivateServer
from vmkiln.files.durable_file import make_folder, write_whole


class BlobService(StrEnum):
    """Who serves the blobs: our own Azurite, one account for each staging group; or one account from outside."""

    AZURITE = "azurite"
    EXTERNAL = "external"


@dataclass(frozen=True)
class BlobEndpoint:
    """Who serves, and its URL without a slash at the end."""

    service: BlobService
    url: str

    def of_account(self, account: str) -> str:
        """The address of one storage account, path-style: names such as `<account>.localhost` do not resolve."""
        return f"{self.url}/{account}/"


def write_endpoint(file: Path, endpoint: BlobEndpoint | None) -> None:
    """Write down where the blobs are, or (none) that nobody serves them."""
    if endpoint is None:
        file.unlink(missing_ok=True)
        return
    make_folder(file.parent)
    write_whole(file, json.dumps({"service": endpoint.service, "url": endpoint.url}).encode())


def read_endpoint(file: Path) -> BlobEndpoint | None:
    """Where the blobs are; none when nobody serves them."""
    try:
        found = json.loads(file.read_text())
    except FileNotFoundError:
        return None
    return BlobEndpoint(BlobService(found["service"]), found["url"])


def server_of(endpoint: BlobEndpoint | None) -> PrivateServer | None:
    """Our own blob server as one that may be asked for scripts, though it is on this machine; pure.

    It answers nobody without a key or a signature, so a template gets from it only what its author may read.
    """
    if endpoint is None or endpoint.service is not BlobService.AZURITE:
        return None
    parts = urlsplit(endpoint.url)
    return PrivateServer(network=ip_network(parts.hostname or ""), port=parts.port or 0)
