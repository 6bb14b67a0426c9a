"""Where the finished image goes: a managed image, a version in a gallery, a VHD.

Source: docs/reference/image-template.md#distribute-targets; docs/reference/behaviour.md#distributing.
"""

import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, Field

from vmkiln.arm_template.json_path import member_path
from vmkiln.azure_names import (
    DEFINITION_NAME,
    DEFINITION_NAME_RULE,
    GALLERY_NAME,
    GALLERY_NAME_RULE,
    IMAGE_DEFINITION,
    IMAGE_NAME,
    IMAGE_NAME_RULE,
    IMAGE_VERSION,
    IMAGE_VERSION_RULE,
    MANAGED_IMAGE,
    image_version_numbers,
    plain_location,
)
from vmkiln.errors import CodedMistake, InputError, Mistake
from vmkiln.template.part import Location, Part, RunOutputName, ScriptAddress, refusal, resource_id_of
from vmkiln.template.resource_id import ResourceId, parse_resource_id

BAD_SHARED_IMAGE = "BadSharedImageDistribute"  # Azure's provisioningErrorCode
MOST_REPLICAS = 100  # of an image version in a region, as Azure has it
MOST_REGIONS = 200  # of an image version: more than Azure has; here each is another name of its file
LONGEST_BLOB_NAME = 60


class StorageAccountType(StrEnum):
    """How the copies of an image version are kept."""

    STANDARD_LRS = "Standard_LRS"
    STANDARD_ZRS = "Standard_ZRS"
    PREMIUM_LRS = "Premium_LRS"


class ReplicationMode(StrEnum):
    """How an image version is copied."""

    FULL = "Full"
    SHALLOW = "Shallow"


class TargetRegion(Part):
    """A region that an image version is copied to."""

    zero_means_default = frozenset({"replicaCount"})
    name: Location
    replica_count: Annotated[int, Field(ge=1, le=MOST_REPLICAS)] = 1
    storage_account_type: StorageAccountType = StorageAccountType.STANDARD_LRS


class LatestVersioning(Part):
    """The next version after the highest, in one major if `major` is not -1."""

    scheme: Literal["Latest"]
    major: Annotated[int, Field(ge=-1)] = -1


class SourceVersioning(Part):
    """A version that follows the source image's version number."""

    scheme: Literal["Source"]


class Target(Part):
    """What all targets share."""

    preview_names = {"tags": "artifactTags"}  # noqa: RUF012 (never changed)
    run_output_name: RunOutputName
    artifact_tags: dict[str, str] = Field(default_factory=dict)


class ManagedImageTarget(Target):
    """A managed image, replaced if it exists."""

    type: Literal["ManagedImage"]
    image_id: Annotated[str, resource_id_of(MANAGED_IMAGE)]
    location: Location

    @property
    def resource_id(self) -> ResourceId:
        """`image_id`, parsed."""
        return parse_resource_id(self.image_id)

    @classmethod
    def mistakes_in(cls, body: Mapping[str, Any], path: str) -> Iterator[Mistake]:
        """The image has a name that Azure would take."""
        found = _parsed(body.get("imageId"), MANAGED_IMAGE)
        if found and not re.fullmatch(IMAGE_NAME, found.name):
            message = f"`{found.name}` cannot be the name of a managed image"
            yield Mistake(member_path(path, "imageId"), message, IMAGE_NAME_RULE)


class SharedImageTarget(Target):
    """A new version of a gallery's image definition; the id may name the version itself.

    `replication_regions` and the target's own `storage_account_type` are the older way to say `target_regions`.
    """

    since = {"targetRegions": "2022-07-01", "versioning": "2022-07-01", "replicationMode": "2025-10-01"}  # noqa: RUF012
    type: Literal["SharedImage"]
    gallery_image_id: Annotated[str, resource_id_of(IMAGE_DEFINITION, IMAGE_VERSION)]
    target_regions: tuple[TargetRegion, ...] = ()
    replication_regions: tuple[Location, ...] = ()
    storage_account_type: StorageAccountType | None = None
    exclude_from_latest: bool = False
    versioning: Annotated[LatestVersioning | SourceVersioning, Field(discriminator="scheme")] | None = None
    replication_mode: ReplicationMode = ReplicationMode.FULL

    @property
    def image_definition(self) -> ResourceId:
        """The id of the image definition, without a version."""
        found = parse_resource_id(self.gallery_image_id)
        return found.parent or found if len(found.names) == 3 else found

    @property
    def explicit_version(self) -> str | None:
        """The version that the id names, or None when one is to be chosen."""
        found = parse_resource_id(self.gallery_image_id)
        return found.name if len(found.names) == 3 else None

    @property
    def regions(self) -> tuple[TargetRegion, ...]:
        """Every region to copy to, whichever way it was written."""
        kind = self.storage_account_type or StorageAccountType.STANDARD_LRS
        older = (TargetRegion(name=name, storage_account_type=kind) for name in self.replication_regions)
        return self.target_regions or tuple(older)

    @classmethod
    def mistakes_in(cls, body: Mapping[str, Any], path: str) -> Iterator[Mistake]:
        """One way to name regions, each once; a version that can be published, named in one way only."""
        targets, older = body.get("targetRegions") or [], body.get("replicationRegions") or []
        if targets and older:
            message = "is given together with `targetRegions`; allowed is only one of the two"
            yield Mistake(member_path(path, "replicationRegions"), message, "use `targetRegions`")
        if targets and body.get("storageAccountType"):
            message = "is allowed only together with `replicationRegions`"
            yield Mistake(member_path(path, "storageAccountType"), message, "give it in each of `targetRegions`")
        gallery = body.get("galleryImageId")
        yield from _repeated_regions(targets, member_path(path, "targetRegions"))
        yield from _repeated_regions(older, member_path(path, "replicationRegions"))
        if found := _parsed(gallery, IMAGE_DEFINITION, IMAGE_VERSION):
            yield from _mistaken_names(found, member_path(path, "galleryImageId"))


def blob_name(uri: str) -> str:
    """The name that a VHD's address gives its file here, without `.vhd`; '' where it names no blob. Pure.

    Of a blob that has none of the letters that file names have here, it is `vhd`.
    """
    name = unquote(urlsplit(uri).path).rpartition("/")[2].lower().removesuffix(".vhd")
    plain = re.sub(r"[^a-z0-9._-]", "_", name)[:LONGEST_BLOB_NAME].lstrip("._-")
    return plain or ("vhd" if name else "")


def _check_blob(text: str) -> str:
    """Of an address that scripts, too, could have: that it names a blob."""
    hint = (
        "such as https://ACCOUNT.blob.core.windows.net/vhds/NAME.vhd; without `uri` the VHD is kept here all the same"
    )
    if text and urlsplit(text).scheme not in ("http", "https"):
        raise refusal(f"`{text[:200]}` is not the address of a blob", hint)
    if text and not blob_name(text):
        raise refusal(f"`{text[:200]}` names no blob", hint)
    return text


class VhdTarget(Target):
    """A fixed VHD; without `uri` it is kept in the staging resource group's storage account."""

    since = {"uri": "2022-07-01"}  # noqa: RUF012 (never changed)
    type: Literal["VHD"]
    uri: Annotated[ScriptAddress, AfterValidator(_check_blob)] = ""


DistributeTarget = Annotated[ManagedImageTarget | SharedImageTarget | VhdTarget, Field(discriminator="type")]


def _parsed(text: Any, *types: str) -> ResourceId | None:
    """An id of one of these types; None for what is told to be none elsewhere."""
    try:
        found = parse_resource_id(text) if isinstance(text, str) else None
    except InputError:
        return None
    return found if found and any(found.is_a(kind) for kind in types) else None


def _mistaken_names(found: ResourceId, where: str) -> Iterator[Mistake]:
    """What Azure would not take as the names of a gallery, an image definition and a version."""
    gallery, definition, *version = found.names
    if not re.fullmatch(GALLERY_NAME, gallery):
        yield CodedMistake(
            where, f"`{gallery}` cannot be the name of a gallery", GALLERY_NAME_RULE, code=BAD_SHARED_IMAGE
        )
    if not re.fullmatch(DEFINITION_NAME, definition):
        message = f"`{definition}` cannot be the name of an image definition"
        yield CodedMistake(where, message, DEFINITION_NAME_RULE, code=BAD_SHARED_IMAGE)
    if version and image_version_numbers(version[0]) is None:
        message = f"`{version[0]}` is not a version that can be published"
        yield CodedMistake(where, message, IMAGE_VERSION_RULE, code=BAD_SHARED_IMAGE)


def published_as(target: Mapping[str, Any]) -> tuple[str, str]:
    """The member of a target's body that names the one thing it publishes, and that thing in lower case; else two ''.

    Two targets that publish the same could not both be published.
    """
    gallery, image, uri = (target.get(name) for name in ("galleryImageId", "imageId", "uri"))
    match target.get("type"):
        case "SharedImage" if isinstance(gallery, str):
            versioning = target.get("versioning")
            if isinstance(versioning, dict) and versioning.get("scheme") == "Source":
                return "galleryImageId", f"{gallery.lower().rstrip('/')}/versions/<the source's>"
            return ("galleryImageId", gallery.lower().rstrip("/")) if "/versions/" in gallery.lower() else ("", "")
        case "ManagedImage" if isinstance(image, str):
            return "imageId", image.lower().rstrip("/")
        case "VHD" if isinstance(uri, str) and uri:
            return "uri", uri.partition("?")[0].lower()
    return "", ""


def _repeated_regions(regions: Any, path: str) -> Iterator[Mistake]:
    """Regions that stand there more than once, whichever way they are written, or are too many."""
    if isinstance(regions, list) and len(regions) > MOST_REGIONS:
        yield Mistake(path, f"has {len(regions)} regions; at most {MOST_REGIONS} are allowed")
        return
    seen: set[str] = set()
    for index, region in enumerate(regions if isinstance(regions, list) else []):
        name = region.get("name") if isinstance(region, dict) else region
        if not isinstance(name, str):
            continue
        key = plain_location(name)
        if key in seen:
            where = member_path(path, index)
            yield Mistake(
                member_path(where, "name") if isinstance(region, dict) else where,
                f"the region `{name}` is given twice",
            )
        seen.add(key)
