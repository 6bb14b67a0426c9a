"""What the operator may set; one frozen value, read once from the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from vmkiln.errors import InputError

OBJECT_STORE_HINT = "az://CONTAINER, s3://BUCKET/PREFIX, or file:///a/directory/that/all/hosts/mount"


@dataclass(frozen=True)
class Settings:
    """Where state lives; everything vmkiln writes is under `home`.

    The state directory is `$VMKILN_HOME`, else `$XDG_STATE_HOME/vmkiln`, else `~/.local/state/vmkiln`
    (XDG Base Directory Specification). `oidc` is the issuer and the audience of tokens that somebody else issues, such
    as Entra ID ($VMKILN_OIDC_ISSUER, $VMKILN_OIDC_AUDIENCE). `blob_connection_string` names an Azure storage account
    for logs, scripts and VHDs, in place of the service's own blob server ($VMKILN_BLOB_CONNECTION_STRING).
    `database_url` names a PostgreSQL database in place of the SQLite file ($VMKILN_DATABASE_URL).
    `object_store` names what the hosts of a fleet share ($VMKILN_OBJECT_STORE); '' when there is one host.
    """

    home: Path
    oidc: tuple[str, str] | None = None
    blob_connection_string: str = field(default="", repr=False)
    database_url: str = field(default="", repr=False)
    object_store: str = field(default="", repr=False)

    @property
    def database_place(self) -> Path | str:
        """Where the database is: PostgreSQL's URL when one is set, else SQLite's file."""
        return self.database_url or self.database

    @property
    def database(self) -> Path:
        """The SQLite database."""
        return self.home / "vmkiln.sqlite"

    @property
    def engine_place(self) -> Path | str:
        """Where the durable engine keeps its steps: in the same PostgreSQL database, else in an SQLite file."""
        return self.database_url or self.home / "engine.sqlite"

    @property
    def image_cache(self) -> Path:
        """Source images, content-addressed and read-only."""
        return self.home / "cache" / "images"

    @property
    def container_image(self) -> Path:
        """The kernel, initramfs and Packer disk of the container group."""
        return self.home / "cache" / "container-group"

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
    def catalogue(self) -> Path:
        """The user's own additions to the platform image catalogue (TOML)."""
        return self.home / "catalogue.toml"


def checked_object_store(url: str) -> str:
    """The address of an object store as it was given, '' for none; pure. Raises: `InputError`, without what it says."""
    if not url:
        return ""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise InputError("VMKILN_OBJECT_STORE is no URL", hint=OBJECT_STORE_HINT) from error
    if parts.scheme not in {"az", "s3", "file"}:
        raise InputError("VMKILN_OBJECT_STORE names no kind of store that is known here", hint=OBJECT_STORE_HINT)
    if parts.query or parts.fragment or "@" in parts.netloc:
        hint = "keys and endpoints are given by AZURE_STORAGE_... and AWS_..., never in the URL"
        raise InputError("VMKILN_OBJECT_STORE has more than a name and a path", hint=hint)
    if parts.scheme == "file":
        if parts.netloc or not parts.path.startswith("/") or ".." in parts.path.split("/"):
            raise InputError("VMKILN_OBJECT_STORE names no directory", hint="file:///mnt/shared, with three slashes")
    elif not parts.netloc or ".." in parts.path.split("/"):
        raise InputError("VMKILN_OBJECT_STORE names no container or bucket", hint=OBJECT_STORE_HINT)
    return url


def settings_from(environment: Mapping[str, str]) -> Settings:
    """Settings as the environment gives them; pure."""
    issuer, audience = environment.get("VMKILN_OIDC_ISSUER", ""), environment.get("VMKILN_OIDC_AUDIENCE", "")
    if bool(issuer) != bool(audience):
        raise InputError("VMKILN_OIDC_ISSUER and VMKILN_OIDC_AUDIENCE go together; one of them is not set")
    oidc = (issuer, audience) if issuer else None
    blobs = environment.get("VMKILN_BLOB_CONNECTION_STRING", "")
    database = environment.get("VMKILN_DATABASE_URL", "")
    objects = checked_object_store(environment.get("VMKILN_OBJECT_STORE", ""))
    if home := environment.get("VMKILN_HOME"):
        return Settings(Path(home).absolute(), oidc, blobs, database, objects)
    state = environment.get("XDG_STATE_HOME") or str(Path(environment.get("HOME") or "~").expanduser() / ".local/state")
    return Settings(Path(state).absolute() / "vmkiln", oidc, blobs, database, objects)


def read_settings() -> Settings:
    """Settings of this process."""
    return settings_from(os.environ)
