"""Microsoft.Compute/skus and locations/vmSizes: the VM sizes that a template may name, as `az vm list-skus` asks.

Every listed size is there in every location. `skus` comes in pages; `vmSizes` has none in Azure, and as many rows as
the table. Source: azure-rest-api-specs, Microsoft.Compute, resourceSkus and virtualMachineSizes.
"""

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from vmkiln.api.identity.caller import Permission
from vmkiln.api.protocol.listing import check_seen
from vmkiln.api.protocol.route import Answer, Call, Route
from vmkiln.azure_locations import TITLES
from vmkiln.azure_names import plain_location
from vmkiln.errors import ArmError
from vmkiln.images.data_disk import MOST_DATA_DISKS
from vmkiln.template.vm_size import VmSize, sizes_by_name

SKUS = "/subscriptions/{subscriptionId}/providers/Microsoft.Compute/skus"
SIZES = "/subscriptions/{subscriptionId}/providers/Microsoft.Compute/locations/{location}/vmSizes"
PAGE = 200
OS_DISK_MIB = 1023 * 1024  # what Azure says of every size
FILTER = re.compile(r"\s*location\s+eq\s+'([^']{1,60})'\s*", re.IGNORECASE)


def _sku(size: VmSize, locations: Sequence[str]) -> dict[str, Any]:
    tier, _, rest = size.name.partition("_")
    capabilities = {
        "vCPUs": str(size.cpu_count),
        "MemoryGB": f"{size.memory_mib / 1024:g}",
        "CpuArchitectureType": str(size.architecture),
        "MaxDataDiskCount": str(MOST_DATA_DISKS),
    }
    return {
        "resourceType": "virtualMachines",
        "name": size.name,
        "tier": tier,
        "size": rest,
        "locations": list(locations),
        "locationInfo": [{"location": location, "zones": []} for location in locations],
        "capabilities": [{"name": name, "value": value} for name, value in capabilities.items()],
        "restrictions": [],
    }


def _wanted_locations(call: Call) -> list[str]:
    text = call.query.get("$filter", "")
    if not text:
        return list(TITLES)
    found = FILTER.fullmatch(text)
    if found is None:
        message = "`$filter` must be `location eq 'NAME'`"
        raise ArmError(400, "InvalidFilterInQueryString", message, target="$filter")
    return [plain_location(found[1])]


def _start(call: Call) -> int:
    text = call.query.get("$skiptoken", "0")
    if not (text.isascii() and text.isdecimal() and len(text) <= 9):
        raise ArmError(400, "InvalidSkipToken", "`$skiptoken` is none of this list", target="$skiptoken")
    return int(text)


def list_skus(call: Call) -> Answer:
    """GET the sizes of all locations, or of the one that `$filter` names; a page at a time."""
    check_seen(call)
    locations, start = _wanted_locations(call), _start(call)
    sizes = list(sizes_by_name().values())
    answer: dict[str, Any] = {"value": [_sku(size, locations) for size in sizes[start : start + PAGE]]}
    if start + PAGE < len(sizes):
        text = call.query.get("$filter", "")
        asked = f"&$filter={quote(text, safe='')}" if text else ""
        path = quote(call.resource_id, safe="/")
        link = f"{call.base_url}{path}?api-version={call.api_version}{asked}&$skiptoken={start + PAGE}"
        answer["nextLink"] = link
    return Answer(200, answer)


def list_sizes(call: Call) -> Answer:
    """GET the sizes of one location, all at once."""
    check_seen(call)
    value = [
        {
            "name": size.name,
            "numberOfCores": size.cpu_count,
            "memoryInMB": size.memory_mib,
            "osDiskSizeInMB": OS_DISK_MIB,
            "resourceDiskSizeInMB": 0,
            "maxDataDiskCount": MOST_DATA_DISKS,
        }
        for size in sizes_by_name().values()
    ]
    return Answer(200, {"value": value})


ROUTES = (
    Route("GET", SKUS, "ResourceSkus_List", Permission.ANY, list_skus),
    Route("GET", SIZES, "VirtualMachineSizes_List", Permission.ANY, list_sizes),
)
