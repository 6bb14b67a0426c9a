"""Subscriptions and their locations, and resource providers. Source: the requests that az and the SDKs make."""

from typing import Any

from vmkiln.api.identity.caller import Permission
from vmkiln.api.identity.first_start import DEFAULT_SUBSCRIPTION
from vmkiln.api.protocol.route import Answer, Call, Route
from vmkiln.azure_names import subscription_scope
from vmkiln.errors import ArmError

ONE = "/subscriptions/{subscriptionId}"
# a template's location is a label here: everything is built on this machine
LOCATIONS = {
    "local": "This machine",
    "australiaeast": "Australia East",
    "brazilsouth": "Brazil South",
    "canadacentral": "Canada Central",
    "centralindia": "Central India",
    "centralus": "Central US",
    "eastasia": "East Asia",
    "eastus": "East US",
    "eastus2": "East US 2",
    "francecentral": "France Central",
    "germanywestcentral": "Germany West Central",
    "japaneast": "Japan East",
    "koreacentral": "Korea Central",
    "northcentralus": "North Central US",
    "northeurope": "North Europe",
    "norwayeast": "Norway East",
    "southafricanorth": "South Africa North",
    "southcentralus": "South Central US",
    "southeastasia": "Southeast Asia",
    "swedencentral": "Sweden Central",
    "switzerlandnorth": "Switzerland North",
    "uaenorth": "UAE North",
    "uksouth": "UK South",
    "ukwest": "UK West",
    "westcentralus": "West Central US",
    "westeurope": "West Europe",
    "westus": "West US",
    "westus2": "West US 2",
    "westus3": "West US 3",
}


def known_subscriptions(call: Call) -> list[str]:
    """The subscriptions a caller has a role in; who has one everywhere sees all that hold anything."""
    own = call.rights.subscriptions
    if own is not None:
        return sorted(own)
    return sorted({DEFAULT_SUBSCRIPTION, *call.service.store.resources.subscriptions()})


def _body(call: Call, subscription_id: str) -> dict[str, Any]:
    return {
        "id": subscription_scope(subscription_id),
        "subscriptionId": subscription_id,
        "displayName": "vmkiln" if subscription_id == DEFAULT_SUBSCRIPTION else subscription_id,
        "state": "Enabled",
        "tenantId": call.service.issuer.tenant_id,
        "authorizationSource": "RoleBased",
        "subscriptionPolicies": {
            "locationPlacementId": "Public_2014-09-01",
            "quotaId": "vmkiln",
            "spendingLimit": "Off",
        },
        "managedByTenants": [],
    }


def list_subscriptions(call: Call) -> Answer:
    """GET all the caller has a role in."""
    return Answer(200, {"value": [_body(call, item) for item in known_subscriptions(call)]})


def check_seen(call: Call) -> str:
    """The subscription of a call, in lower case. Raises: `ArmError` 404 for one the caller has no role in."""
    subscription_id = call.names["subscriptionId"].lower()
    own = call.rights.subscriptions
    if own is not None and subscription_id not in own:
        message = f"The subscription '{call.names['subscriptionId']}' could not be found."
        raise ArmError(404, "SubscriptionNotFound", message)
    return subscription_id


def get(call: Call) -> Answer:
    """GET one."""
    return Answer(200, _body(call, check_seen(call)))


def list_locations(call: Call) -> Answer:
    """GET the locations; each is only a label here."""
    subscription_id = check_seen(call)
    value = [
        {
            "id": f"{subscription_scope(subscription_id)}/locations/{name}",
            "name": name,
            "type": "Region",
            "displayName": title,
            "regionalDisplayName": title,
            "metadata": {"regionType": "Physical", "regionCategory": "Recommended"},
        }
        for name, title in LOCATIONS.items()
    ]
    return Answer(200, {"value": value})


ROUTES = (
    Route("GET", "/subscriptions", "Subscriptions_List", Permission.ANY, list_subscriptions),
    Route("GET", ONE, "Subscriptions_Get", Permission.ANY, get),
    Route("GET", f"{ONE}/locations", "Subscriptions_ListLocations", Permission.ANY, list_locations),
)
