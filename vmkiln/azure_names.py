"""Names that Azure gives: resource types, provisioning states, log files, ids, locations.

One place for all who write or compare them. Names are spelled as Azure spells them and compared without regard to case.
"""

import re
from datetime import datetime
from enum import StrEnum

NEWEST_API_VERSION = "2025-10-01"  # of Microsoft.VirtualMachineImages

IMAGE_TEMPLATE = "Microsoft.VirtualMachineImages/imageTemplates"
TRIGGER = f"{IMAGE_TEMPLATE}/triggers"
RESOURCE_GROUP = "Microsoft.Resources/resourceGroups"
DEPLOYMENT = "Microsoft.Resources/deployments"
DEPLOYMENT_SCRIPT = "Microsoft.Resources/deploymentScripts"
FEATURE = "Microsoft.Features/features"
CONTAINER_GROUP = "Microsoft.ContainerInstance/containerGroups"
VIRTUAL_MACHINE = "Microsoft.Compute/virtualMachines"
DISK = "Microsoft.Compute/disks"
MANAGED_IMAGE = "Microsoft.Compute/images"
GALLERY = "Microsoft.Compute/galleries"
IMAGE_DEFINITION = f"{GALLERY}/images"
IMAGE_VERSION = f"{IMAGE_DEFINITION}/versions"
SHARED_GALLERY_VERSION = "Microsoft.Compute/locations/sharedGalleries/images/versions"
NETWORK_INTERFACE = "Microsoft.Network/networkInterfaces"
VIRTUAL_NETWORK = "Microsoft.Network/virtualNetworks"
SUBNET = f"{VIRTUAL_NETWORK}/subnets"
SECURITY_GROUP = "Microsoft.Network/networkSecurityGroups"
PRIVATE_ENDPOINT = "Microsoft.Network/privateEndpoints"
PRIVATE_LINK_SERVICE = "Microsoft.Network/privateLinkServices"
LOAD_BALANCER = "Microsoft.Network/loadBalancers"
STORAGE_ACCOUNT = "Microsoft.Storage/storageAccounts"
USER_ASSIGNED_IDENTITY = "Microsoft.ManagedIdentity/userAssignedIdentities"
FEDERATED_CREDENTIAL = f"{USER_ASSIGNED_IDENTITY}/federatedIdentityCredentials"
ROLE_DEFINITION = "Microsoft.Authorization/roleDefinitions"
LOCK = "Microsoft.Authorization/locks"
ROLE_ASSIGNMENT = "Microsoft.Authorization/roleAssignments"

CUSTOMIZATION_LOG, VALIDATION_LOG = "customization.log", "validation.log"
FLOW_LOG = "flows.jsonl"
CONSOLE_LOG = "console.log"
# what is logged, and in which blob
LOG_FILES = {
    "customization": CUSTOMIZATION_LOG,
    "validation": VALIDATION_LOG,
    "flows": FLOW_LOG,
    "console": CONSOLE_LOG,
    "customizationTimes": f"{CUSTOMIZATION_LOG}.times",
    "validationTimes": f"{VALIDATION_LOG}.times",
}


class ProvisioningState(StrEnum):
    """Where a stored resource, a run output or a deployment is."""

    CREATING = "Creating"
    UPDATING = "Updating"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    CANCELED = "Canceled"
    DELETING = "Deleting"


class Architecture(StrEnum):
    """What a CPU understands: of a VM size, an image, an image definition."""

    X64 = "x64"
    ARM64 = "Arm64"


class OperationStatus(StrEnum):
    """Where an asynchronous operation is."""

    IN_PROGRESS = "InProgress"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    CANCELED = "Canceled"


# Source: Azure's "Naming rules and restrictions for Azure resources", Microsoft.Compute
GALLERY_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._]{0,78}[A-Za-z0-9])?"
GALLERY_NAME_RULE = "1 to 80 letters, digits, `.` and `_`, a letter or digit first and last"
DEFINITION_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,78}[A-Za-z0-9])?"
DEFINITION_NAME_RULE = "1 to 80 letters, digits, `.`, `_` and `-`, a letter or digit first and last"
IMAGE_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,78}[A-Za-z0-9_])?"
IMAGE_NAME_RULE = "1 to 80 letters, digits, `.`, `_` and `-`, a letter or digit first, no `.` or `-` last"
IMAGE_VERSION_RULE = "three numbers such as 1.2.3, each up to 2147483647 and without leading zeros"
HIGHEST_VERSION_NUMBER = 2**31 - 1
_IMAGE_VERSION = re.compile(r"(0|[1-9][0-9]{0,9})\.(0|[1-9][0-9]{0,9})\.(0|[1-9][0-9]{0,9})")


def image_version_numbers(text: str) -> tuple[int, int, int] | None:
    """The numbers of an image version's name; None for what no version can be called."""
    found = _IMAGE_VERSION.fullmatch(text)
    if found is None or max(map(int, found.groups())) > HIGHEST_VERSION_NUMBER:
        return None
    return (int(found[1]), int(found[2]), int(found[3]))


# in no subscription: the runs of templates and of files, and the staging resource groups that `vmkiln build` made
ALL_RUNS = "/providers/Vmkiln.Builds/runs"
LOCAL_GROUPS = "/providers/Vmkiln.Builds/resourceGroups"


def subscription_scope(subscription_id: str) -> str:
    """The ARM id of a subscription."""
    return f"/subscriptions/{subscription_id}"


def group_id(subscription_id: str, name: str) -> str:
    """The ARM id of a resource group."""
    return f"/subscriptions/{subscription_id}/resourceGroups/{name}"


def plain_location(text: str) -> str:
    """A location as it is compared: `West US 2` is `westus2`."""
    return text.replace(" ", "").lower()


def same_location(one: str, other: str) -> bool:
    """Whether two spellings mean one location."""
    return plain_location(one) == plain_location(other)


def utc_text(moment: datetime, *, timespec: str = "milliseconds") -> str:
    """A moment in UTC as ARM writes it: ISO 8601 with a Z, such as `2026-11-28T13:50:00.123Z`; pure."""
    return moment.isoformat(timespec=timespec).replace("+00:00", "Z")
