"""The virtual network that an image template names, as the service keeps it."""

from collections.abc import Mapping
from typing import Any

from vmkiln.staging.topology import network_id_of
from vmkiln.staging.user_network import UserVirtualNetwork, virtual_networks_of
from vmkiln.store.database import Store
from vmkiln.store.rows import ResourceRow
from vmkiln.template.image_template import ImageTemplate


def virtual_networks_for(store: Store, template: ImageTemplate) -> Mapping[str, UserVirtualNetwork]:
    """The virtual network of `vnetConfig` by its id in lower case; empty when none is named, or it is not there.

    Raises: `InputError` when what is kept of it cannot be understood.
    """
    subnet_id = template.properties.vm_profile.vnet_config.subnet_id
    row = store.resources.get(network_id_of(subnet_id)) if subnet_id else None
    if row is None:
        return {}
    subnets: list[Mapping[str, Any]] = [item.get("properties") or {} for item in row.properties.get("subnets") or ()]
    group_ids = {str((subnet.get("networkSecurityGroup") or {}).get("id") or "").lower() for subnet in subnets}
    groups = [store.resources.get(group_id) for group_id in sorted(group_ids - {""})]
    return virtual_networks_of([_body(row), *(_body(group) for group in groups if group is not None)])


def _body(row: ResourceRow) -> dict[str, Any]:
    return {"id": row.id, "properties": dict(row.properties)}
