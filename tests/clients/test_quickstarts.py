"""Azure's quickstarts of Image Builder, command by command as they are published, with the real az.

Source: the quickstarts "Create a Linux image and distribute it to an Azure Compute Gallery by using the Azure CLI" and
"Use Azure VM Image Builder to access an existing Azure virtual network"; what stands here are their commands only.
"""

from pathlib import Path

from real_clients import Az
from test_azure_cli import SOURCE, TEMPLATES, in_file
from turns import ON_EVEN_DAYS, ON_ODD_DAYS

ROLE = "Azure Image Builder Image Def 1"
GALLERY = ("-g", "made", "--gallery-name", "myIbGallery")
DEFINITION = (*GALLERY, "--gallery-image-definition", "myIbImageDef")


@ON_EVEN_DAYS
def test_a_gallery_image_from_the_first_command_to_the_last(az: Az, tmp_path: Path) -> None:
    for name in ("VirtualMachineImages", "KeyVault"):
        az("provider", "register", "-n", f"Microsoft.{name}")
    scope = az("group", "create", "-n", "made", "-l", "westus2")["id"]
    identity = az("identity", "create", "-g", "made", "-n", "aibBuiUserId")
    actions = ["Microsoft.Compute/galleries/read", "Microsoft.Compute/galleries/images/versions/write"]
    role = {"Name": ROLE, "IsCustom": True, "Description": "d", "Actions": actions, "AssignableScopes": [scope]}
    az("role", "definition", "create", "--role-definition", in_file(tmp_path, role))
    whose = ("--assignee", identity["clientId"], "--role", ROLE, "--scope", scope)
    assert az("role", "assignment", "create", *whose)["principalId"] == identity["principalId"]
    az("sig", "create", *GALLERY)
    az(
        "sig", "image-definition", "create", *DEFINITION, "--publisher", "p", "--offer", "o", "--sku", "s",
        "--os-type", "Linux", "--hyper-v-generation", "V1",
    )  # fmt: skip
    target = {
        "type": "SharedImage",
        "galleryImageId": f"{scope}/providers/Microsoft.Compute/galleries/myIbGallery/images/myIbImageDef",
        "runOutputName": "aibLinuxSIG",
        "artifactTags": {"source": "azureVmImageBuilder"},
        "replicationRegions": ["westus2"],
    }
    template = {
        "type": "Microsoft.VirtualMachineImages",
        "apiVersion": "2022-02-14",
        "location": "westus2",
        "dependsOn": [],
        "tags": {"imagebuilderTemplate": "ubuntu"},
        "identity": {"type": "UserAssigned", "userAssignedIdentities": {identity["id"]: {}}},
        "properties": {
            "buildTimeoutInMinutes": 100,
            "vmProfile": {"vmSize": "Standard_D2_v2", "osDiskSizeGB": 30},
            "source": SOURCE,
            "customize": [{"type": "Shell", "name": "InlineScript", "inline": ["publish"]}],
            "distribute": [target],
        },
    }
    file = in_file(tmp_path, template)
    which = ("--resource-group", "made", "--resource-type", TEMPLATES, "-n", "hello")
    az("resource", "create", *which, "--properties", f"@{file}", "--is-full-object")
    az("resource", "invoke-action", *which, "--action", "Run")
    assert [item["name"] for item in az("sig", "image-version", "list", *DEFINITION)] == ["1.0.0"]
    az("resource", "delete", *which)
    az("sig", "image-version", "delete", *DEFINITION, "--gallery-image-version", "1.0.0")
    az("sig", "image-definition", "delete", *DEFINITION)
    az("sig", "delete", *GALLERY)
    az("role", "assignment", "delete", *whose)
    az("role", "definition", "delete", "--name", ROLE)
    assert az("role", "definition", "list", "--name", ROLE) == []
    az("identity", "delete", "--ids", identity["id"])
    az("group", "delete", "-n", "made", "--yes")
    assert az("group", "exists", "-n", "made") is False


@ON_ODD_DAYS
def test_the_network_of_the_quickstart_is_made(az: Az) -> None:
    az("network", "nsg", "create", "-g", "rg1", "-n", "aibdemoNsg")
    network = ("-g", "rg1", "--vnet-name", "myexistingvnet01")
    az(
        "network", "vnet", "create", "-g", "rg1", "--name", "myexistingvnet01", "--address-prefix", "10.0.0.0/16",
        "--subnet-name", "subnet01", "--subnet-prefix", "10.0.0.0/24", "--nsg", "aibdemoNsg",
    )  # fmt: skip
    az(
        "network", "nsg", "rule", "create", "-g", "rg1", "--nsg-name", "aibdemoNsg", "-n", "AzureImageBuilderNsgRule",
        "--priority", "400", "--source-address-prefixes", "AzureLoadBalancer", "--destination-address-prefixes",
        "VirtualNetwork", "--destination-port-ranges", "60000-60001", "--direction", "inbound", "--access", "Allow",
        "--protocol", "Tcp", "--description", "Allow Image Builder Private Link Access to Proxy VM",
    )  # fmt: skip
    policy = ("--private-link-service-network-policies", "Disabled")
    subnet = az("network", "vnet", "subnet", "update", "--name", "subnet01", *network, *policy)
    assert subnet["privateLinkServiceNetworkPolicies"] == "Disabled"
    rules = az("network", "nsg", "show", "-g", "rg1", "-n", "aibdemoNsg")["securityRules"]
    assert [item["destinationPortRange"] for item in rules] == ["60000-60001"]
