"""Where the build VM's disk comes from: a platform image, a managed image or a gallery image version.

Source of the fields and rules: docs/reference/image-template.md#source; `ISO` existed in the preview api-versions only.
"""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from vmkiln.azure_names import IMAGE_VERSION, MANAGED_IMAGE, SHARED_GALLERY_VERSION
from vmkiln.template.part import NonEmpty, Part, ScriptAddress, Sha256Checksum, resource_id_of
from vmkiln.template.resource_id import ResourceId, parse_resource_id

_WINDOWS_PUBLISHERS = {
    "dynamicsax",
    "microsoftdynamicsax",
    "microsoftdynamicsnav",
    "microsoftsharepoint",
    "microsoftvisualstudio",
    "microsoftwindowsdesktop",
    "microsoftwindowsserver",
    "microsoftwindowsserverhpcpack",
}
_LINUX_PUBLISHERS = {
    "almalinux",
    "canonical",
    "center-for-internet-security-rhel",
    "coreos",
    "credativ",
    "ctrliqinc1648673227698",
    "debian",
    "erockyenterprisesoftwarefoundationinc1653071250513",
    "kinvolk",
    "microsoftcblmariner",
    "openlogic",
    "oracle",
    "redhat",
    "redhat-rhel",
    "resf",
    "suse",
}
_LINUX_WORDS = ("ubuntu", "linux", "rhel", "centos", "debian", "sles", "suse", "mariner", "flatcar")
_WINDOWS_WORDS = ("windows", "-ws20", "ws2016", "ws2019", "ws2022", "ws2025")


class OsType(StrEnum):
    """The operating system of an image, in Azure's spelling."""

    LINUX = "Linux"
    WINDOWS = "Windows"


class PurchasePlan(Part):
    """`planInfo`: the marketplace plan of a platform image."""

    plan_name: NonEmpty
    plan_product: NonEmpty
    plan_publisher: NonEmpty


class PlatformImageSource(Part):
    """A published image; `version` may be `latest`, which is resolved at build time."""

    read_only = frozenset({"exactVersion"})
    type: Literal["PlatformImage"]
    publisher: NonEmpty
    offer: NonEmpty
    sku: NonEmpty
    version: NonEmpty = "latest"
    plan_info: PurchasePlan | None = None


class ManagedImageSource(Part):
    """An image made earlier, by its id."""

    type: Literal["ManagedImage"]
    image_id: Annotated[str, resource_id_of(MANAGED_IMAGE)]

    @property
    def resource_id(self) -> ResourceId:
        """`image_id`, parsed."""
        return parse_resource_id(self.image_id)


class SharedImageVersionSource(Part):
    """An image version of a gallery; the version may be `latest`, which is resolved at build time."""

    read_only = frozenset({"exactVersion"})
    type: Literal["SharedImageVersion"]
    image_version_id: Annotated[str, resource_id_of(IMAGE_VERSION, SHARED_GALLERY_VERSION)]

    @property
    def resource_id(self) -> ResourceId:
        """`image_version_id`, parsed."""
        return parse_resource_id(self.image_version_id)


class IsoSource(Part):
    """An installation disc, of the preview api-versions (`sourceURI`, `sha256Checksum`)."""

    type: Literal["ISO"]
    source_uri: ScriptAddress = Field(alias="sourceURI")
    sha256_checksum: Sha256Checksum = ""


Source = Annotated[
    PlatformImageSource | ManagedImageSource | SharedImageVersionSource | IsoSource, Field(discriminator="type")
]


def os_type_of_platform_image(publisher: str, offer: str) -> OsType | None:
    """The operating system that a publisher and an offer are known for; None if they are not known."""
    publisher, offer = publisher.lower(), offer.lower()
    if publisher in _WINDOWS_PUBLISHERS:
        return OsType.WINDOWS
    if publisher in _LINUX_PUBLISHERS:
        return OsType.LINUX
    if any(word in offer for word in _LINUX_WORDS):
        return OsType.LINUX
    if any(word in offer for word in _WINDOWS_WORDS):
        return OsType.WINDOWS
    return None
