"""Rules of a network security group, put one by one as `az network nsg rule` does."""

from typing import Any

from in_process import GROUP, TEMPLATE, Service, a_template, add_group, code_of, provisioned, wait_for

RULES = f"{GROUP}/providers/Microsoft.Network/networkSecurityGroups/rules"
VERSION = "2024-05-01"


def rule(priority: int, access: str = "Allow") -> dict[str, Any]:
    values = {"priority": priority, "direction": "Inbound", "access": access, "protocol": "Tcp"}
    ports = {"sourcePortRange": "*", "destinationPortRange": "22"}
    return {"properties": {**values, **ports, "sourceAddressPrefix": "*", "destinationAddressPrefix": "*"}}


def test_a_rule_is_put_changed_listed_and_deleted(service: Service) -> None:
    add_group(service)
    missing = service.put(f"{RULES}/securityRules/one", rule(100), api_version=VERSION)
    assert (missing.status_code, code_of(missing)) == (404, "ParentResourceNotFound")
    service.put(RULES, {"location": "westus2"}, api_version=VERSION)
    made = service.put(f"{RULES}/securityRules/one", rule(100), api_version=VERSION)
    assert (made.status_code, made.json()["id"]) == (201, f"{RULES}/securityRules/one")
    assert service.put(f"{RULES}/securityRules/ONE", rule(110, "Deny"), api_version=VERSION).status_code == 200
    assert service.get(f"{RULES}/securityRules/one").json()["properties"]["access"] == "Deny"
    assert service.put(f"{RULES}/securityRules/two", rule(120), api_version=VERSION).status_code == 201
    listed = service.get(f"{RULES}/securityRules").json()["value"]
    assert listed == service.get(RULES).json()["properties"]["securityRules"]
    assert [item["properties"]["priority"] for item in listed] == [110, 120]
    taken = service.put(f"{RULES}/securityRules/three", rule(120), api_version=VERSION)
    assert (taken.status_code, code_of(taken)) == (400, "SecurityRuleInvalid")
    assert len(service.get(f"{RULES}/securityRules").json()["value"]) == 2
    assert service.request("DELETE", f"{RULES}/securityRules/one").status_code == 200
    assert service.request("DELETE", f"{RULES}/securityRules/one").status_code == 204
    assert service.get(f"{RULES}/securityRules/one").status_code == 404


def test_the_rules_of_a_build_are_read_and_not_changed(living: Service) -> None:
    add_group(living)
    found = provisioned(living, TEMPLATE, a_template("wait"))
    living.request("POST", f"{TEMPLATE}/run")
    group = f"{found['properties']['exactStagingResourceGroup']}/providers/Microsoft.Network/networkSecurityGroups/nsg"
    wait_for(lambda: living.get(f"{group}/securityRules").status_code == 200)
    changed = living.put(f"{group}/securityRules/one", rule(100))
    assert (changed.status_code, code_of(changed)) == (409, "OperationNotAllowed")
    living.request("POST", f"{TEMPLATE}/cancel")
