"""Subscriptions and their locations, and resource providers. Source: the requests that az and the SDKs make."""

from typing import Any

from vmkiln.api.identity.caller import Permission
from vmkiln.api.identity.first_start import DEFAULT_SUBSCRIPTION
from vmkiln.api.protocol.listing import check_seen
from vmkiln.api.protocol.route import Answer, Call, Route
from vmkiln.azure_locations import TITLES
from vmkiln.azure_names import subscription_scope

ONE = "/subscriptions/{subscriptionId}"


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
        for name, title in TITLES.items()
    ]
    return Answer(200, {"value": value})


ROUTES = (
    Route("GET", "/subscriptions", "Subscriptions_List", Permission.ANY, list_subscriptions),
    Route("GET", ONE, "Subscriptions_Get", Permission.ANY, get),
    Route("GET", f"{ONE}/locations", "Subscriptions_ListLocations", Permission.ANY, list_locations),
)
