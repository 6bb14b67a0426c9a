"""The plan of a template that is kept: what is wrong is told in it, and nothing of others to who lost the rights."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vmkiln.azure_names import IMAGE_TEMPLATE, VIRTUAL_NETWORK
from vmkiln.provisioning.planning import plan_of_kept
from vmkiln.settings import Settings
from vmkiln.store.database import Store, opened
from vmkiln.store.rows import ResourceRow

SUBSCRIPTION = "/subscriptions/00000000-0000-0000-0000-000000000001"
PLACE, THEIRS = f"{SUBSCRIPTION}/resourceGroups/rg", f"{SUBSCRIPTION}/resourceGroups/theirs"
NETWORK = f"{THEIRS}/providers/{VIRTUAL_NETWORK}/net"
SUBNET = {
    "name": "build",
    "properties": {"addressPrefix": "10.77.0.0/24", "privateLinkServiceNetworkPolicies": "Disabled"},
}
OPERATOR = {"objectId": "local", "name": "local operator", "isLocal": True}
REVOKED = {"objectId": "revoked", "name": "somebody", "isLocal": False}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with opened(tmp_path / "vmkiln.sqlite") as found:
        yield found


def keep_network(store: Store, *subnets: Any) -> None:
    spaces = {"addressSpace": {"addressPrefixes": ["10.77.0.0/16"]}, "subnets": list(subnets)}
    row = ResourceRow(NETWORK, VIRTUAL_NETWORK, "net", SUBSCRIPTION[15:], "theirs", "local", properties=spaces)
    store.resources.put(row)


def a_row(owner: dict[str, Any], tags: dict[str, str] | None = None) -> ResourceRow:
    """A template with another's image and another's subnet."""
    source = {"type": "ManagedImage", "imageId": f"{THEIRS}/providers/Microsoft.Compute/images/secret"}
    return ResourceRow(
        id=f"{PLACE}/providers/{IMAGE_TEMPLATE}/web",
        type=IMAGE_TEMPLATE,
        name="web",
        subscription_id=SUBSCRIPTION[15:],
        resource_group="rg",
        location="local",
        tags=tags or {},
        identity={"type": "None"},
        properties={
            "source": source,
            "vmProfile": {"vnetConfig": {"subnetId": f"{NETWORK}/subnets/build"}},
            "distribute": [{"type": "VHD", "runOutputName": "out"}],
        },
        state={"api_version": "2025-10-01", "owner": owner},
    )


def test_a_plan_without_rights_tells_nothing_of_what_it_names(store: Store, tmp_path: Path) -> None:
    keep_network(store, SUBNET)
    settings = Settings(tmp_path)
    allowed = json.dumps(plan_of_kept(settings, store, a_row(OPERATOR)))
    assert "10.77.0" in allowed, "who has the rights sees their network"
    assert "there is no managed image" in allowed
    plan = plan_of_kept(settings, store, a_row(REVOKED))
    [problem] = plan["cannot_be_built_because"]
    assert problem.startswith("rights: ")
    assert "10.77.0" not in json.dumps(plan)


def test_what_cannot_be_read_is_a_problem_of_the_plan(store: Store, tmp_path: Path) -> None:
    keep_network(store, {"name": "build", "properties": {}})
    settings = Settings(tmp_path, guest_proxy="http://proxy.example:3128")
    plan = plan_of_kept(settings, store, a_row(OPERATOR, {"vmkiln-egress": "none"}))
    problems = [text.partition(": ")[::2] for text in plan["cannot_be_built_because"]]
    [network] = [text for path, text in problems if path == "properties.vmProfile.vnetConfig"]
    assert network.startswith("the virtual networks cannot be read")
    assert dict(problems)["egress"].startswith("guest_proxy reaches whatever it is asked for")
