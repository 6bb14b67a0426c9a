"""What a resource's page tells in words."""

from vmkiln.portal.resources.resource_face import Relation, facts, kind_of, relations

NIC = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Network/networkInterfaces/nic"
VM = {
    "id": "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Compute/virtualMachines/vm",
    "type": "Microsoft.Compute/virtualMachines",
    "location": "westus2",
    "properties": {
        "hardwareProfile": {"vmSize": "Standard_D1_v2"},
        "isOn": True,
        "zones": ["1", "2"],
        "nothing": None,
        "networkProfile": {"networkInterfaces": [{"id": NIC}, {"id": NIC.upper()}]},
        "instanceView": {"statuses": [{"code": "PowerState/running"}]},
        "a": {"b": {"c": {"d": {"e": "too deep"}}}},
    },
}


def test_facts_are_single_values_with_their_place() -> None:
    assert facts(VM) == [
        ("Type", "Microsoft.Compute/virtualMachines"),
        ("Location", "westus2"),
        ("hardwareProfile.vmSize", "Standard_D1_v2"),
        ("isOn", "yes"),
        ("zones", "1, 2"),
    ]


def test_a_resource_is_related_to_what_it_names_once_and_never_to_itself() -> None:
    assert relations(VM) == [Relation(NIC, "networkProfile.networkInterfaces[0].id")]
    many = {"properties": {"ids": [f"{NIC}{at}" for at in range(1000)], "more": {str(at): at for at in range(1000)}}}
    assert (len(relations(many)), len(facts(many))) == (40, 60)


def test_the_kind_of_an_id_is_its_last_type() -> None:
    assert kind_of(NIC) == "networkinterfaces"
