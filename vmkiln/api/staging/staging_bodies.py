"""What a build makes, as the resources it is in Azure's words; pure: from what was recorded to what clients see.

Source: the ARM references of Microsoft.ContainerInstance, Compute, Network and Storage;
docs/reference/isolated-builds.md#container-group.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from vmkiln.api.protocol.revision import time_text
from vmkiln.api.staging.firewall_rules import default_rules, other_rules, security_rules
from vmkiln.azure_names import (
    CONTAINER_GROUP,
    DISK,
    LOAD_BALANCER,
    NETWORK_INTERFACE,
    PRIVATE_ENDPOINT,
    PRIVATE_LINK_SERVICE,
    SECURITY_GROUP,
    VIRTUAL_MACHINE,
    VIRTUAL_NETWORK,
    ProvisioningState,
)
from vmkiln.run_state import RunState
from vmkiln.staging.staging_resource_group import HELD
from vmkiln.store.rows import ResourceRow, RunRow, StagingResourceRow

CONTAINER = "packer"
KILLED = 137  # 128 and SIGKILL, as container groups have it
MIB_PER_GB = 1024
ON_DISK = ("Stopped", HELD)  # states of a VM that is there, and takes nothing but disk


def _time(moment: datetime | None) -> str | None:
    return time_text(moment)


def container_group(item: StagingResourceRow, run: RunRow | None) -> dict[str, Any]:
    """`properties` of a container group: one container, Packer, in a kernel of its own."""
    is_alive = item.deleted is None
    name = (item.detail.get("containers") or [CONTAINER])[0]
    facts: Mapping[str, Any] = run.facts if run else {}
    current: dict[str, Any] = {"state": "Running", "startTime": _time(item.created), "detailStatus": ""}
    if not is_alive:
        code, word = 0, "Completed"
        if run is not None and run.state == RunState.FAILED:
            code, word = 1, "Error"
        elif run is not None and run.state in {RunState.CANCELED, RunState.CANCELING}:
            code, word = KILLED, "Error"
        current = {
            "state": "Terminated",
            "startTime": _time(item.created),
            "finishTime": _time(item.deleted),
            "exitCode": code,
            "detailStatus": word,
        }
    events = [_event("Created", f"Created container {name}", item.created)]
    events.append(_event("Started", f"Started container {name}", item.created))
    if item.deleted is not None:
        events.append(_event("Killing", f"Container {name} ended", item.deleted))
    memory_mib = int(item.detail.get("memoryMiB") or MIB_PER_GB)
    requests = {"cpu": 1.0, "memoryInGB": round(memory_mib / MIB_PER_GB, 2)}
    container = {
        "name": name,
        "properties": {
            "image": f"packer:{facts.get('packer_version', 'unknown')}",
            "command": ["packer", "build"],
            "ports": [],
            "environmentVariables": [],
            "resources": {"requests": requests},
            "instanceView": {"restartCount": 0, "currentState": current, "events": events},
        },
    }
    return {
        "provisioningState": ProvisioningState.SUCCEEDED,
        "sku": "Standard",
        "osType": "Linux",
        "restartPolicy": "Never",
        "containers": [container],
        "initContainers": [],
        "instanceView": {"events": [], "state": "Running" if is_alive else "Stopped"},
        "isolation": {"level": facts.get("isolation_level", ""), "ownKernel": True},
    }


def _event(name: str, message: str, moment: datetime) -> dict[str, Any]:
    at = _time(moment)
    return {"count": 1, "firstTimestamp": at, "lastTimestamp": at, "name": name, "message": message, "type": "Normal"}


def virtual_machine(item: StagingResourceRow, run: RunRow | None) -> dict[str, Any]:
    """`properties` of a build, validation or inspection VM; the last has no network interface."""
    state = "running" if item.deleted is None and item.detail.get("state") not in ON_DISK else "deallocated"
    facts: Mapping[str, Any] = run.facts if run else {}
    interfaces = [{"id": f"networkInterfaces/{item.name}-nic"}] if item.detail.get("hasNetwork", True) else []
    return {
        "provisioningState": ProvisioningState.SUCCEEDED,
        "hardwareProfile": {"vmSize": item.detail.get("vmSize", "")},
        "storageProfile": {
            "imageReference": {"exactVersion": facts.get("source_exact_version", "")},
            "osDisk": {
                "name": f"{item.name}-os-disk",
                "osType": facts.get("os_type", "Linux"),
                "createOption": "FromImage",
            },
            "dataDisks": [],
        },
        "networkProfile": {"networkInterfaces": interfaces},
        "vmId": item.run_id,
        "timeCreated": _time(item.created),
        "instanceView": {
            "statuses": [{"code": f"PowerState/{state}", "level": "Info", "displayStatus": f"VM {state}"}]
        },
    }


def disk(item: StagingResourceRow, run: RunRow | None) -> dict[str, Any]:
    """`properties` of a VM's disk: an overlay of the source image."""
    facts: Mapping[str, Any] = run.facts if run else {}
    return {
        "provisioningState": ProvisioningState.SUCCEEDED,
        "osType": facts.get("os_type", "Linux"),
        "diskState": "Attached",
        "hyperVGeneration": f"V{facts.get('generation', 1)}",
        "creationData": {"createOption": "FromImage"},
        "networkAccessPolicy": "DenyAll",
        "publicNetworkAccess": "Disabled",
        "timeCreated": _time(item.created),
    }


def network_interface(item: StagingResourceRow, _run: RunRow | None) -> dict[str, Any]:
    """`properties` of a network interface: one private address, never a public one."""
    address = {
        "name": "ipconfig",
        "properties": {
            "privateIPAddress": item.detail.get("address", ""),
            "privateIPAllocationMethod": "Static",
            "privateIPAddressVersion": "IPv4",
            "primary": True,
        },
    }
    mac = str(item.detail.get("mac", "")).replace(":", "-").upper()
    return {
        "provisioningState": ProvisioningState.SUCCEEDED,
        "macAddress": mac,
        "ipConfigurations": [address],
        "enableIPForwarding": False,
        "primary": True,
    }


def virtual_network(item: StagingResourceRow, _run: RunRow | None) -> dict[str, Any]:
    """`properties` of the build's own virtual network."""
    subnets = item.detail.get("subnets") or {}
    return {
        "provisioningState": ProvisioningState.SUCCEEDED,
        "addressSpace": {"addressPrefixes": ["10.0.0.0/16"]},
        "subnets": [
            {"name": name, "properties": {"addressPrefix": prefix, "provisioningState": ProvisioningState.SUCCEEDED}}
            for name, prefix in subnets.items()
        ],
        "virtualNetworkPeerings": [],
        "enableDdosProtection": False,
    }


def security_group(item: StagingResourceRow, run: RunRow | None) -> dict[str, Any]:
    """`properties` of the network security group: the rules as the kernel has them, each with its packets."""
    rules = item.detail.get("rules") or [
        {"comment": comment, "packets": packets}
        for comment, packets in ((run.facts if run else {}).get("packets") or {}).items()
    ]
    network = item.detail.get("network") or {}
    return {
        "provisioningState": ProvisioningState.SUCCEEDED,
        "securityRules": security_rules(
            rules,
            subnets=network.get("subnets") or {},
            forbidden=network.get("forbidden") or [],
            inside=str(network.get("inside", "")),
        ),
        "defaultSecurityRules": default_rules(),
        "otherRules": other_rules(rules),
    }


def load_balancer(item: StagingResourceRow, _run: RunRow | None) -> dict[str, Any]:
    """`properties` of the internal load balancer before the build VM: a private address and no other."""
    address = {
        "privateIPAddress": item.detail.get("address", ""),
        "privateIPAllocationMethod": "Static",
        "privateIPAddressVersion": "IPv4",
        "subnet": {"id": item.detail.get("subnet", "")},
    }
    return {
        "provisioningState": ProvisioningState.SUCCEEDED,
        "frontendIPConfigurations": [{"name": "frontend", "properties": address}],
        "backendAddressPools": [{"name": "build-vm", "properties": {"provisioningState": ProvisioningState.SUCCEEDED}}],
        "loadBalancingRules": [],
        "inboundNatRules": [],
    }


def private_link_service(item: StagingResourceRow, _run: RunRow | None) -> dict[str, Any]:
    """`properties` of the private link service: it translates addresses into the build VM's subnet."""
    address = {
        "privateIPAddress": item.detail.get("address", ""),
        "privateIPAllocationMethod": "Static",
        "primary": True,
        "subnet": {"id": item.detail.get("subnet", "")},
    }
    return {
        "provisioningState": ProvisioningState.SUCCEEDED,
        "ipConfigurations": [{"name": "translation", "properties": address}],
        "loadBalancerFrontendIpConfigurations": [{"id": "loadBalancers/aiblb/frontendIPConfigurations/frontend"}],
        "visibility": {"subscriptions": []},
        "autoApproval": {"subscriptions": []},
        "enableProxyProtocol": False,
    }


def private_endpoint(item: StagingResourceRow, _run: RunRow | None) -> dict[str, Any]:
    """`properties` of the private endpoint: the one address and port the container group reaches."""
    state = {"status": "Approved" if item.deleted is None else "Disconnected", "description": "", "actionsRequired": ""}
    connection = {"privateLinkServiceId": "privateLinkServices/aibpls", "privateLinkServiceConnectionState": state}
    return {
        "provisioningState": ProvisioningState.SUCCEEDED,
        "privateLinkServiceConnections": [{"name": "aibpls", "properties": connection}],
        "manualPrivateLinkServiceConnections": [],
        "networkInterfaces": [{"id": "networkInterfaces/aibpe.nic"}],
        "ipConfigurations": [
            {"name": "endpoint", "properties": {"privateIPAddress": item.detail.get("address", ""), "groupId": ""}}
        ],
        "customDnsConfigs": [],
        "port": item.detail.get("port"),
    }


PROPERTIES: Mapping[str, Callable[[StagingResourceRow, RunRow | None], dict[str, Any]]] = {
    CONTAINER_GROUP: container_group,
    VIRTUAL_MACHINE: virtual_machine,
    DISK: disk,
    NETWORK_INTERFACE: network_interface,
    VIRTUAL_NETWORK: virtual_network,
    SECURITY_GROUP: security_group,
    PRIVATE_ENDPOINT: private_endpoint,
    PRIVATE_LINK_SERVICE: private_link_service,
    LOAD_BALANCER: load_balancer,
}


def _properties(item: StagingResourceRow, run: RunRow | None) -> dict[str, Any]:
    known = PROPERTIES.get(item.type)
    return known(item, run) if known else {"provisioningState": ProvisioningState.SUCCEEDED}


def as_resource(item: StagingResourceRow, group: ResourceRow) -> ResourceRow:
    """A build's resource as one of its staging resource group."""
    return ResourceRow(
        id=f"{group.id}/providers/{item.type}/{item.name}",
        type=item.type,
        name=item.name,
        subscription_id=group.subscription_id,
        resource_group=group.name,
        location=group.location,
        tags=group.tags,
        properties={"provisioningState": ProvisioningState.SUCCEEDED},
        created=item.created,
        changed=item.deleted or item.created,
        created_by=group.created_by,
        changed_by=group.created_by,
    )


def _with_ids(properties: dict[str, Any], row: ResourceRow, group: ResourceRow) -> dict[str, Any]:
    """The properties with whole ids: clients take them apart."""
    place = f"{group.id}/providers/Microsoft.Network"

    def whole(value: Any) -> Any:
        if isinstance(value, list):
            return [whole(item) for item in value]
        if not isinstance(value, dict):
            return value
        return {
            name: f"{place}/{item}" if name in {"id", "privateLinkServiceId"} and _is_short(item) else whole(item)
            for name, item in value.items()
        }

    found: dict[str, Any] = whole(properties)
    for member in ("subnets", "ipConfigurations", "securityRules", "frontendIPConfigurations", "backendAddressPools"):
        for part in found.get(member) or []:
            part.setdefault("id", f"{row.id}/{member}/{part['name']}")
    return found


def _is_short(value: Any) -> bool:
    return isinstance(value, str) and "/" in value and not value.startswith("/")


def body(item: StagingResourceRow, group: ResourceRow, run: RunRow | None) -> dict[str, Any]:
    """The whole resource; `runId` is the run that made it."""
    row = as_resource(item, group)
    return {
        "id": row.id,
        "name": row.name,
        "type": row.type,
        "location": row.location,
        "tags": dict(row.tags),
        "properties": {**_with_ids(_properties(item, run), row, group), "runId": item.run_id},
    }
