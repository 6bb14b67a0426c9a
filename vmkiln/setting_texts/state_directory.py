"""The state directory: where each thing is that vmkiln writes. What may lie there tells `docs/design.md`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from vmkiln.setting_texts.declaration import Description


@dataclass(frozen=True)
class StateDirectory:
    """The state directory and the places in it; the first of the settings."""

    home: Annotated[
        Path,
        Description(
            "The state directory. Left out: `$XDG_STATE_HOME/vmkiln`, else `~/.local/state/vmkiln` "
            "(XDG Base Directory Specification).",
            flag="--data",
        ),
    ]

    @property
    def database(self) -> Path:
        """The SQLite database."""
        return self.home / "vmkiln.sqlite"

    @property
    def image_cache(self) -> Path:
        """Source images, content-addressed and read-only."""
        return self.home / "cache" / "images"

    @property
    def container_image(self) -> Path:
        """The kernel, initramfs and Packer disk of the container group."""
        return self.home / "cache" / "container-group"

    @property
    def saved_vms(self) -> Path:
        """What is left of VMs that had booted and were stopped, for others to go on from."""
        return self.home / "cache" / "saved-vms"

    @property
    def source_contents(self) -> Path:
        """What is in source images, by the digests of these."""
        return self.home / "cache" / "source-contents"

    @property
    def shared_locks(self) -> Path:
        """Locks of what is fetched from the object store that hosts share: one process of this host at a time."""
        return self.home / "cache" / "shared-storage"

    @property
    def image_store(self) -> Path:
        """Published images: managed images, gallery versions and VHDs."""
        return self.home / "images"

    @property
    def staging(self) -> Path:
        """One folder for each staging resource group."""
        return self.home / "staging"

    @property
    def blobs(self) -> Path:
        """The blob server's data, and the keys of the storage accounts."""
        return self.home / "blobs"

    @property
    def blob_endpoint(self) -> Path:
        """Where the blob server is reached, while it is up."""
        return self.blobs / "endpoint.json"

    @property
    def azurite(self) -> Path:
        """Where `vmkiln storage install` puts the blob server."""
        return self.home / "azurite"

    @property
    def runs(self) -> Path:
        """One folder for each live run: disks, sockets, keys; empty when nothing runs."""
        return self.home / "runs"

    @property
    def leases(self) -> Path:
        """Failed VMs that are held: one folder for each run, sealed; empty when no hold lasts."""
        return self.home / "leases"

    @property
    def rooms(self) -> Path:
        """Locks of what takes room of this host beside runs; empty when nothing does."""
        return self.home / "rooms"

    @property
    def catalogue(self) -> Path:
        """The user's own additions to the platform image catalogue (TOML)."""
        return self.home / "catalogue.toml"
