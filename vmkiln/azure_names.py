"""Names that Azure gives: resource types, provisioning states, ids. One place for all who compare them."""

TYPE = "Microsoft.VirtualMachineImages/imageTemplates"


TRIGGER_TYPE = f"{TYPE}/triggers"


RESOURCE_GROUP = "Microsoft.Resources/resourceGroups"


CREATING, SUCCEEDED, FAILED, DELETING = "Creating", "Succeeded", "Failed", "Deleting"


def group_id(subscription_id: str, name: str) -> str:
    """The ARM id of a resource group."""
    return f"/subscriptions/{subscription_id}/resourceGroups/{name}"
