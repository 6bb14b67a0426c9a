"""Where the finished image goes: a managed image, a version in a gallery, a VHD.

Source: docs/reference/image-template.md#distribute-targets; docs/reference/behaviour.md#distributing.
"""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field

from vmkiln.arm_template.json_path import member_path
from vmkiln.azure_names import IMAGE_DEFINITION, IMAGE_VERSION, MANAGED_IMAGE
from vmkiln.errors import Mistake
from vmkiln.template.part import NonEmpty, Part, RunOutputName, ScriptAddress, resource_id_of
from vmkiln.template.resource_id import ResourceId, parse_resource_id


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
    name: NonEmpty
    replica_count: Annotated[int, Field(ge=1)] = 1
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
    location: NonEmpty

    @property
    def resource_id(self) -> ResourceId:
        """`image_id`, parsed."""
        return parse_resource_id(self.image_id)


class SharedImageTarget(Target):
    """A new version of a gallery's image definition; the id may name the version itself.

    `replication_regions` and the target's own `storage_account_type` are the older way to say `target_regions`.
    """

    type: Literal["SharedImage"]
    gallery_image_id: Annotated[str, resource_id_of(IMAGE_DEFINITION, IMAGE_VERSION)]
    target_regions: tuple[TargetRegion, ...] = ()
    replication_regions: tuple[NonEmpty, ...] = ()
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
        """One way to name regions, each once; a version's scheme only where the id names no version."""
        targets, older = body.get("targetRegions") or [], body.get("replicationRegions") or []
        if targets and older:
            message = "is given together with `targetRegions`; allowed is only one of the two"
            yield Mistake(member_path(path, "replicationRegions"), message, "use `targetRegions`")
        if targets and body.get("storageAccountType"):
            message = "is allowed only together with `replicationRegions`"
            yield Mistake(member_path(path, "storageAccountType"), message, "give it in each of `targetRegions`")
        gallery = body.get("galleryImageId")
        if body.get("versioning") and isinstance(gallery, str) and "/versions/" in gallery.lower():
            message = "is given although `galleryImageId` names an exact version; allowed is only one of the two"
            yield Mistake(member_path(path, "versioning"), message)
        yield from _repeated_regions(targets, path)


class VhdTarget(Target):
    """A fixed VHD; without `uri` it is kept in the staging resource group's storage account."""

    type: Literal["VHD"]
    uri: ScriptAddress = ""


DistributeTarget = Annotated[ManagedImageTarget | SharedImageTarget | VhdTarget, Field(discriminator="type")]


def _repeated_regions(targets: Any, path: str) -> Iterator[Mistake]:
    seen: set[str] = set()
    for index, region in enumerate(targets if isinstance(targets, list) else []):
        name = region.get("name") if isinstance(region, dict) else None
        if not isinstance(name, str):
            continue
        key = name.lower().replace(" ", "")
        if key in seen:
            where = member_path(member_path(member_path(path, "targetRegions"), index), "name")
            yield Mistake(where, f"the region `{name}` is given twice")
        seen.add(key)
