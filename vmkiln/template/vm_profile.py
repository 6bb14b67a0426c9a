"""`vmProfile`: the build VM's size, disk, identities and network.

Source: docs/reference/image-template.md#vm-profile. Which size an empty `vm_size` means depends on the source image's
generation: see vm_size.py.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import Field

from vmkiln.arm_template.json_path import member_path
from vmkiln.errors import Mistake
from vmkiln.template.part import IdentityId, Part, SubnetId

LARGEST_OS_DISK_GB = 4095  # of a VM on Azure
Size = Annotated[int, Field(ge=0)]


class VirtualNetworkConfig(Part):
    """`vnetConfig`: the user's own subnets. The three last members name a subnet as the preview api-versions did."""

    preview_only = frozenset({"name", "subnetName", "resourceGroupName"})
    since = {"proxyVmSize": "2021-10-01", "containerInstanceSubnetId": "2024-02-01"}  # noqa: RUF012 (never changed)
    subnet_id: SubnetId | None = None
    container_instance_subnet_id: SubnetId | None = None
    proxy_vm_size: str = ""
    name: str = ""
    subnet_name: str = ""
    resource_group_name: str = ""

    @classmethod
    def mistakes_in(cls, body: Mapping[str, Any], path: str) -> Iterator[Mistake]:
        """A container group's subnet needs a build VM's: in the same virtual network, and another one."""
        subnet, container = body.get("subnetId"), body.get("containerInstanceSubnetId")
        where = member_path(path, "containerInstanceSubnetId")
        if container and not subnet:
            yield Mistake(where, "is allowed only together with `subnetId`")
        if isinstance(container, str) and isinstance(subnet, str) and container and subnet:
            if container.lower() == subnet.lower():
                yield Mistake(where, "must be another subnet than `subnetId`")
            elif container.lower().rpartition("/subnets/")[0] != subnet.lower().rpartition("/subnets/")[0]:
                yield Mistake(where, "must be in the same virtual network as `subnetId`")
        if container and body.get("proxyVmSize"):
            message = "is not allowed together with `containerInstanceSubnetId`: no proxy VM is made then"
            yield Mistake(member_path(path, "proxyVmSize"), message)


class VmProfile(Part):
    """The build VM. A size of 0 GB means the source image's size; identities are ids."""

    since = {"userAssignedIdentities": "2021-10-01"}  # noqa: RUF012 (never changed)
    vm_size: str = ""
    os_disk_size_gb: Annotated[int, Field(ge=0, le=LARGEST_OS_DISK_GB)] = Field(default=0, alias="osDiskSizeGB")
    user_assigned_identities: tuple[IdentityId, ...] = ()
    vnet_config: VirtualNetworkConfig = VirtualNetworkConfig()
