"""What the catalogue knows of one image: its name on Azure, and how it is made or had."""

from dataclasses import dataclass

from vmkiln.azure_names import Architecture


@dataclass(frozen=True)
class Plan:
    """The purchase plan an image has on Azure's marketplace, as `planInfo` names it."""

    name: str
    product: str
    publisher: str

    def __str__(self) -> str:
        return f"planName {self.name}, planProduct {self.product}, planPublisher {self.publisher}"


@dataclass(frozen=True)
class DatedBuilds:
    """Where a publisher keeps each build of an image, and which version a build is.

    `index_url` is a page or a file that names the builds, `url` the image of one, with `{build}` in its place;
    `checksum_url` and `signature_url` are relative to that. `version` has `{0}`, `{1}` for the build's numbers.
    """

    index_url: str
    url: str
    checksum_url: str
    signature_url: str
    version: str


@dataclass(frozen=True)
class DebianEntry:
    """An image made here from Debian's packages; `mirrors` replaces the archive's own addresses (sources.list(5))."""

    publisher: str
    offer: str
    sku: str
    generation: int
    suite: str
    release: str
    packages: tuple[str, ...] = ()
    mirrors: tuple[str, ...] = ()
    architecture: str = Architecture.X64
    plan: Plan | None = None
    note: str = ""


@dataclass(frozen=True)
class DownloadEntry:
    """An image fetched by URL and checked against a published checksum, which is signed unless `signature` is none.

    `keyring` is a path, or a name looked for in the user's own keyrings and in the distribution's; else the keys are
    fetched from `key_url`. With `fingerprints` nobody else's signature counts, whatever is in the keyring.

    `checksum_member` says where in a checksum file that is JSON the SHA-256 stands; `url` then may name other members.
    `note` is what whoever builds from the image has to know.
    """

    publisher: str
    offer: str
    sku: str
    generation: int
    url: str
    checksum_url: str
    format: str
    os_type: str = "Linux"
    signature: str = "none"
    signature_url: str = ""
    keyring: str = ""
    keyring_hint: str = ""
    release: str = ""
    version: str = ""
    architecture: str = Architecture.X64
    key_url: str = ""
    fingerprints: tuple[str, ...] = ()
    checksum_member: str = ""
    builds: DatedBuilds | None = None
    plan: Plan | None = None
    note: str = ""


@dataclass(frozen=True)
class ImportedEntry:
    """An image that the user imported; `versions` are those that are kept, the newest first."""

    publisher: str
    offer: str
    sku: str
    generation: int
    versions: tuple[str, ...]
    os_type: str = "Linux"
    architecture: str = Architecture.X64
    plan: Plan | None = None
    note: str = ""


@dataclass(frozen=True)
class ClosedPublisher:
    """Images of a name on Azure that nobody but the user can get; `*` stands for every offer or SKU.

    `reason` says why, `source` where the user gets a file.
    """

    publisher: str
    offer: str
    reason: str
    source: str


CatalogueEntry = DebianEntry | DownloadEntry | ImportedEntry


def name_of(entry: CatalogueEntry) -> str:
    """`publisher:offer:sku`, as Azure spells it."""
    return f"{entry.publisher}:{entry.offer}:{entry.sku}"


def os_type_of(entry: CatalogueEntry) -> str:
    """`Linux` or `Windows`."""
    return "Linux" if isinstance(entry, DebianEntry) else entry.os_type


def key_of_name(name: str) -> tuple[str, str, str]:
    """The same for a `publisher:offer:sku`."""
    publisher, offer, sku = name.lower().split(":")
    return (publisher, offer, sku)


def key_of(entry: CatalogueEntry) -> tuple[str, str, str]:
    """How an entry is found: its name in lower case."""
    return (entry.publisher.lower(), entry.offer.lower(), entry.sku.lower())
