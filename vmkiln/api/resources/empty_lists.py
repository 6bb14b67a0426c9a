"""Lists of what there is none of here: snapshots, policies, public addresses. They are empty, so scripts go on.

Making one is refused, as everything is that is not served.
"""

from vmkiln.api.identity.caller import Permission
from vmkiln.api.protocol.groups import GROUP_PATH, group_of
from vmkiln.api.protocol.listing import check_seen
from vmkiln.api.protocol.route import Answer, Call, Route

SUBSCRIPTION = "/subscriptions/{subscriptionId}/providers"
TYPES = (
    "Microsoft.Compute/snapshots",
    "Microsoft.Compute/availabilitySets",
    "Microsoft.Compute/virtualMachineScaleSets",
    "Microsoft.Network/publicIPAddresses",
    "Microsoft.Network/natGateways",
    "Microsoft.Network/networkWatchers",
    "Microsoft.Network/routeTables",
    "Microsoft.Network/privateDnsZones",
    "Microsoft.Authorization/policyAssignments",
    "Microsoft.Authorization/policyExemptions",
    "Microsoft.Resources/deploymentStacks",
    "Microsoft.Resources/templateSpecs",
    "Microsoft.KeyVault/vaults",
)
# of a location: nothing is counted there
LOCATED = (
    ("Microsoft.Compute/locations/{location}/usages", "Usage_List"),
    ("Microsoft.ContainerInstance/locations/{location}/usages", "Location_ListUsage"),
)


def of_subscription(call: Call) -> Answer:
    """GET all of a subscription: none."""
    check_seen(call)
    return Answer(200, {"value": []})


def of_group(call: Call) -> Answer:
    """GET all of a resource group: none."""
    group_of(call)
    return Answer(200, {"value": []})


def _routes() -> list[Route]:
    found = []
    for name in TYPES:
        word = name.partition("/")[2]
        stem = f"{word[0].upper()}{word[1:]}"
        found += [
            Route("GET", f"{SUBSCRIPTION}/{name}", f"{stem}_List", Permission.ANY, of_subscription),
            Route("GET", f"{GROUP_PATH}/{name}", f"{stem}_ListByResourceGroup", Permission.READ, of_group),
        ]
    found += [
        Route("GET", f"{SUBSCRIPTION}/{path}", operation, Permission.ANY, of_subscription)
        for path, operation in LOCATED
    ]
    return found


ROUTES = tuple(_routes())
