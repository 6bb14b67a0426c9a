"""What was done, in words."""

import pytest

from vmkiln.portal.resources.resource_face import told_act


@pytest.mark.parametrize(
    ("operation", "words"),
    [
        ("Microsoft.VirtualMachineImages/imageTemplates/run/action", "Run image template"),
        ("Microsoft.Resources/subscriptions/resourceGroups/write", "Create or update resource group"),
        ("Microsoft.Compute/galleries/delete", "Delete gallery"),
        ("Microsoft.Storage/storageAccounts/listKeys/action", "List keys of storage account"),
        ("Microsoft.Directory/signIns/action", "Sign in"),
        ("odd", "Odd"),
    ],
)
def test_an_operation_is_told_in_words(operation: str, words: str) -> None:
    assert told_act(operation) == words
