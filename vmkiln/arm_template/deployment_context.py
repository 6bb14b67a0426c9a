"""What is a deployment, and where it takes place, as its expressions see it: subscription, group, location, time.

A local build has no subscription; the values here stand in for one and may be set by the caller.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

NO_SUBSCRIPTION = "00000000-0000-0000-0000-000000000000"
IMAGE_TEMPLATE = "microsoft.virtualmachineimages/imagetemplates"
# The second spelling is no type of Azure's, but stands in published templates.
IMAGE_TEMPLATE_TYPES = (IMAGE_TEMPLATE, "microsoft.virtualmachineimages")


def is_deployment_template(document: Mapping[str, Any]) -> bool:
    """Whether the document is a deployment, and not the body of a resource."""
    return "resources" in {name.lower() for name in document}


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class DeploymentContext:
    """What resourceGroup(), subscription(), deployment(), deployer(), utcNow() and newGuid() tell.

    A deployment of a subscription has no resource group (''). `location_of_group` tells the location of another
    resource group by its id, '' for one that is not known. `content_version` is the template's own, which its
    deployment sets.
    """

    subscription_id: str = NO_SUBSCRIPTION
    resource_group: str = "vmkiln"
    location: str = "local"
    tenant_id: str = NO_SUBSCRIPTION
    template_name: str = "local"
    deployer_id: str = NO_SUBSCRIPTION
    deployer_name: str = "local"
    content_version: str = ""
    location_of_group: Callable[[str], str] = lambda _group_id: ""
    now: datetime = field(default_factory=_now)
    new_guid: UUID = field(default_factory=uuid4)
