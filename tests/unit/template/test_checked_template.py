"""A body becomes an ImageTemplate, or every mistake in it is named at once, with its path."""

import copy
from typing import Any

import pytest
import tiers
from hypothesis import given, settings
from hypothesis import strategies as st

from vmkiln.errors import TemplateInvalid
from vmkiln.template.checked_template import check_image_template
from vmkiln.template.distribute_target import SharedImageTarget, blob_name
from vmkiln.template.image_template import ImageTemplate
from vmkiln.template.source import OsType

GROUP = "/subscriptions/s/resourceGroups/g/providers"
IMAGE_ID = f"{GROUP}/Microsoft.Compute/images/i"
DEFINITION_ID = f"{GROUP}/Microsoft.Compute/galleries/g/images/d"
SUBNET_ID = f"{GROUP}/Microsoft.Network/virtualNetworks/v/subnets/a"
OTHER_NETWORK = f"{GROUP}/Microsoft.Network/virtualNetworks/w/subnets/b"
LINUX = {"type": "PlatformImage", "publisher": "Canonical", "offer": "ubuntu", "sku": "22", "version": "latest"}
WINDOWS = LINUX | {"publisher": "MicrosoftWindowsServer", "offer": "WindowsServer"}
MANAGED = {"type": "ManagedImage", "runOutputName": "out", "imageId": IMAGE_ID, "location": "westus"}
SHARED = {"type": "SharedImage", "runOutputName": "out", "galleryImageId": DEFINITION_ID}


def body(**properties: Any) -> dict[str, Any]:
    return {"location": "westus", "properties": {"source": LINUX, "distribute": [MANAGED]} | properties}


def mistakes(document: Any, api_version: str = "2025-10-01") -> dict[str, str]:
    with pytest.raises(TemplateInvalid) as caught:
        check_image_template(document, api_version=api_version)
    return {mistake.path: str(mistake) for mistake in caught.value.mistakes}


def template(api_version: str = "2025-10-01", **properties: Any) -> ImageTemplate:
    return check_image_template(body(**properties), api_version=api_version)


def test_absent_null_empty_and_zero_all_mean_the_default() -> None:
    empty = {"buildTimeoutInMinutes": 0, "stagingResourceGroup": "", "validate": None, "optimize": None}
    profile = {"vmSize": "", "osDiskSizeGB": 0, "vnetConfig": None, "userAssignedIdentities": None}
    update = {"type": "WindowsUpdate", "searchCriteria": "", "updateLimit": 0, "filters": None}
    restart = {"type": "WindowsRestart", "restartCommand": None, "restartTimeout": ""}
    windows = {"source": WINDOWS, "customize": [update, restart]}
    spelled = template(**windows, **empty, vmProfile=profile)
    assert spelled == template(source=WINDOWS, customize=[{"type": "WindowsUpdate"}, {"type": "WindowsRestart"}])
    assert spelled.build_timeout_seconds == 240 * 60
    assert spelled.properties.customize[0].model_dump()["updateLimit"] == 1000
    assert spelled.properties.error_handling.on_customizer_error == "cleanup"


def test_every_mistake_is_named_at_once() -> None:
    wrong = {
        "location": 7,
        "properties": {
            "source": LINUX | {"publisher": ""},
            "buildTimeoutInMinutes": 3,
            "vmProfile": {"vmSize": "Standard_D1", "osDiskSizeGB": -1},
            "customize": [
                {"type": "Shell", "scriptUri": "ftp://x", "inline": ["a"], "sha256Checksum": "AB" * 32},
                {"type": "Shell"},
                {"type": "Nonsense"},
                {"type": "Shell", "inline": "a"},
                "text",
            ],
            "distribute": [MANAGED, MANAGED | {"runOutputName": "OUT"}, MANAGED | {"runOutputName": "a b"}, {}],
        },
    }
    found = mistakes(wrong)
    assert set(found) == {
        "location",
        "properties.source.publisher",
        "properties.buildTimeoutInMinutes",
        "properties.vmProfile.osDiskSizeGB",
        "properties.customize[0].scriptUri",
        "properties.customize[0].sha256Checksum",
        "properties.customize[1].scriptUri",
        "properties.customize[2].type",
        "properties.customize[3].inline",
        "properties.customize[4]",
        "properties.distribute[1].imageId",
        "properties.distribute[1].runOutputName",
        "properties.distribute[2].imageId",
        "properties.distribute[2].runOutputName",
        "properties.distribute[3].type",
    }
    assert "lower case" in found["properties.customize[0].sha256Checksum"]
    assert "'Shell'" in found["properties.customize[2].type"]


def test_required_parts_are_asked_for() -> None:
    assert set(mistakes({})) == {"location", "properties"}
    assert set(mistakes({"location": "x", "properties": {}})) == {"properties.source", "properties.distribute"}


def test_since_2024_names_are_exact_and_unknown_members_refused() -> None:
    document = body(optimize={"vmboot": {"state": "Enabled"}}, nonsense=1)
    found = mistakes(document, "2024-02-01")
    assert "did you mean `vmBoot`?" in found["properties.optimize.vmboot"]
    assert "not a known member" in found["properties.nonsense"]


NEWER = {
    "additionalDataDisks": [{"sizeGB": 8}],
    "optimize": {"workload": {"state": "Enabled"}},
    "distribute": [{**SHARED, "replicationMode": "Shallow"}],
}


def test_a_member_that_came_later_is_done_and_told_that_azure_refuses_it() -> None:
    found = template("2024-02-01", **NEWER)
    assert found.properties.additional_data_disks
    assert {warning.partition(":")[0] for warning in found.warnings if "Azure refuses it" in warning} == {
        "properties.additionalDataDisks",
        "properties.optimize.workload",
        "properties.distribute[0].replicationMode",
    }
    assert all("it came with 2025-10-01" in warning for warning in found.warnings)
    assert template("2025-10-01", **NEWER).warnings == ()
    assert check_image_template(body(**NEWER), api_version="2024-02-01", is_kept=True).warnings == (), "taken once"


def test_before_2024_a_member_that_came_later_is_done_with_a_warning() -> None:
    found = template("2020-02-14", errorHandling={"onCustomizerError": "abort"}, optimize=None)
    assert found.properties.error_handling.on_customizer_error == "abort"
    [warning] = found.warnings
    assert "Azure ignores it in api-version 2020-02-14: it came with 2023-07-01" in warning


@pytest.mark.parametrize("api_version", ["2023-07-01", "2025-10-01"])
def test_words_of_a_closed_list_are_taken_in_any_case(api_version: str) -> None:
    regions = [{"name": "westus2", "storageAccountType": "standard_zrs"}]
    target = SHARED | {"type": "sharedImage", "targetRegions": regions, "versioning": {"scheme": "latest"}}
    found = template(api_version, distribute=[target], errorHandling={"onCustomizerError": "Abort"})
    published = found.properties.distribute[0]
    assert isinstance(published, SharedImageTarget)
    assert (published.type, published.target_regions[0].storage_account_type) == ("SharedImage", "Standard_ZRS")
    assert found.properties.error_handling.on_customizer_error == "abort"
    assert found.warnings == ()


def test_before_2024_case_is_free_and_an_unknown_member_is_only_a_warning() -> None:
    document = body(Optimize={"vmboot": {"State": "enabled"}}, nonsense=1, buildTimeoutInMinutes="60")
    found = check_image_template(document, api_version="2023-07-01")
    assert found.properties.optimize.vm_boot.state == "Enabled"
    assert found.build_timeout_seconds == 3600
    assert [warning.split(":")[0] for warning in found.warnings] == [
        "properties.nonsense",
        "properties.buildTimeoutInMinutes",
    ]


def test_a_member_in_two_spellings_is_a_mistake() -> None:
    found = mistakes(body(Source=LINUX), "2020-02-14")
    assert "given twice" in found["properties.Source"]


def test_what_the_service_writes_is_accepted_back() -> None:
    document = body(provisioningState="Succeeded", lastRunStatus={"runState": "Failed"})
    document |= {"id": "/x", "systemData": {}, "name": "n", "type": "t", "apiVersion": "2025-10-01"}
    document["properties"]["source"] = LINUX | {"exactVersion": "1"}
    identity = f"{GROUP}/Microsoft.ManagedIdentity/userAssignedIdentities/i"
    document["identity"] = {"type": "UserAssigned", "userAssignedIdentities": {identity: {"clientId": "x"}}}
    found = check_image_template(document)
    assert found.identity is not None
    assert list(found.identity.user_assigned_identities) == [identity]


@pytest.mark.parametrize(
    ("step", "path", "message"),
    [
        ({"type": "PowerShell", "inline": ["a"]}, ".type", "Customizer PowerShell is not supported on Linux images"),
        ({"type": "WindowsRestart"}, ".type", "not supported on Linux"),
        ({"type": "File", "sourceUri": "a", "destination": "etc/x"}, ".destination", "not absolute"),
        ({"type": "File", "sourceUri": "a", "destination": "/etc/x"}, ".destination", "under /tmp"),
        ({"type": "File", "sourceUri": "a", "destination": "/tmp/../etc/x"}, ".destination", "under /tmp"),
        ({"type": "File", "sourceUri": "a", "destination": "/tmp/"}, ".destination", "is a folder"),
        ({"type": "File", "destination": "/tmp/x"}, ".sourceUri", "is required"),
        ({"type": "Shell", "scriptUri": "https://"}, ".scriptUri", "names no host"),
        ({"type": "Shell", "scriptUri": "c:\\x.ps1"}, ".scriptUri", "not an address"),
        ({"type": "Shell", "scriptUri": "https://x/<name>"}, ".scriptUri", "placeholder `<name>`"),
        ({"type": "Shell", "inline": ["a"], "sha256Checksum": "0" * 64}, ".sha256Checksum", "only together"),
    ],
)
def test_a_wrong_step_on_linux_is_refused(step: dict[str, Any], path: str, message: str) -> None:
    found = mistakes(body(customize=[step]))
    assert message in found[f"properties.customize[0]{path}"]


def test_a_file_may_go_where_an_earlier_shell_step_can_have_made_room() -> None:
    shell = {"type": "Shell", "inline": ["sudo install -d -o packer /opt/app"]}
    file = {"type": "File", "sourceUri": "a", "destination": "/opt/app/x"}
    check_image_template(body(customize=[shell, file]))
    check_image_template(body(customize=[shell], validate={"inVMValidations": [file]}))
    found = mistakes(body(customize=[file, shell, {**file, "destination": "opt/x"}]))
    assert "unless an earlier Shell step" in found["properties.customize[0].destination"]
    assert "not absolute" in found["properties.customize[2].destination"]


@pytest.mark.parametrize(
    ("step", "path", "message"),
    [
        ({"type": "Shell", "inline": ["a"]}, ".type", "not supported on Windows"),
        ({"type": "File", "sourceUri": "a", "destination": "x.txt"}, ".destination", "not absolute"),
        ({"type": "WindowsRestart", "restartTimeout": "5"}, ".restartTimeout", "not a duration"),
        ({"type": "WindowsRestart", "restartTimeout": "0m"}, ".restartTimeout", "not a duration"),
        ({"type": "WindowsUpdate", "updateLimit": -1}, ".updateLimit", "at least 0"),
        ({"type": "PowerShell", "inline": ["a"], "runAsSystem": True}, ".runAsSystem", "only if `runElevated`"),
        ({"type": "PowerShell", "inline": ["a"], "validExitCodes": ["0"]}, ".validExitCodes[0]", "whole number"),
        ({"type": "PowerShell", "inline": ["a"], "runElevated": "yes"}, ".runElevated", "true or false"),
    ],
)
def test_a_wrong_step_on_windows_is_refused(step: dict[str, Any], path: str, message: str) -> None:
    found = mistakes(body(source=WINDOWS, customize=[step]))
    assert message in found[f"properties.customize[0]{path}"]


def test_where_the_source_tells_nothing_the_first_customizer_does() -> None:
    source = {"type": "ManagedImage", "imageId": IMAGE_ID}
    shell, powershell = {"type": "Shell", "inline": ["a"]}, {"type": "PowerShell", "inline": ["a"]}
    assert template(source=source, customize=[powershell]).os_type is OsType.WINDOWS
    assert template(source=source).os_type is None
    found = mistakes(body(source=source, customize=[shell], validate={"inVMValidations": [powershell]}))
    assert list(found) == ["properties.validate.inVMValidations[0].type"]


@pytest.mark.parametrize(
    ("target", "path", "message"),
    [
        ({"targetRegions": [{"name": "a"}], "replicationRegions": ["a"]}, "replicationRegions", "only one of the two"),
        ({"targetRegions": [{"name": "a"}], "storageAccountType": "Premium_LRS"}, "storageAccountType", "only"),
        ({"targetRegions": [{"name": "West US"}, {"name": "westus"}]}, "targetRegions[1].name", "given twice"),
        ({"targetRegions": [{"name": f"r{n}"} for n in range(201)]}, "targetRegions", "at most 200"),
        ({"targetRegions": [{"name": "a", "replicaCount": -1}]}, "targetRegions[0].replicaCount", "at least 1"),
        ({"targetRegions": [{"name": "a", "replicaCount": 101}]}, "targetRegions[0].replicaCount", "at most 100"),
        ({"targetRegions": [{"name": "a", "storageAccountType": "x"}]}, "targetRegions[0].storageAccountType", "ZRS"),
        ({"versioning": {"scheme": "Newest"}}, "versioning.scheme", "'Latest', 'Source'"),
        ({"versioning": {"scheme": "Latest", "major": -2}}, "versioning.major", "at least -1"),
        ({"versioning": {"scheme": "Source", "major": 1}}, "versioning.major", "not a known member"),
        ({"galleryImageId": IMAGE_ID}, "galleryImageId", "is the id of"),
        ({"galleryImageId": "/subscriptions/<id>/x"}, "galleryImageId", "placeholder `<id>`"),
        ({"replicationMode": "Half"}, "replicationMode", "'Full' or 'Shallow'"),
    ],
)
def test_a_wrong_gallery_target_is_refused(target: dict[str, Any], path: str, message: str) -> None:
    found = mistakes(body(distribute=[SHARED | target]))
    assert message in found[f"properties.distribute[0].{path}"]


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("vhds/x.vhd", "is not the address of a blob"),
        ("file:x.vhd", "is not the address of a blob"),
        ("https://a.blob.core.windows.net", "names no blob"),
        ("https://a.blob.core.windows.net/vhds/", "names no blob"),
        ("https://a.blob.core.windows.net/vhds/.vhd?sig=1", "names no blob"),
        ("https://a.blob.core.windows.net/vhds/<name>.vhd", "placeholder `<name>`"),
        ("https://[a/vhds/x.vhd", "not a well-formed URL"),
    ],
)
def test_an_address_that_names_no_blob_is_refused_for_a_vhd(uri: str, words: str) -> None:
    found = mistakes(body(distribute=[{"type": "VHD", "runOutputName": "v", "uri": uri}]))
    assert words in found["properties.distribute[0].uri"]


@pytest.mark.parametrize("name", ["%E6%97%A5%E6%9C%AC", "\u65e5\u672c", "_"])
def test_a_blob_may_have_a_name_of_any_letters(name: str) -> None:
    uri = f"https://a.blob.core.windows.net/vhds/{name}.vhd"
    template(distribute=[{"type": "VHD", "runOutputName": "v", "uri": uri}])
    assert blob_name(uri) == "vhd"


def test_a_disk_larger_than_any_of_azures_is_refused() -> None:
    assert "at most 4095" in mistakes(body(vmProfile={"osDiskSizeGB": 4096}))["properties.vmProfile.osDiskSizeGB"]
    assert template(vmProfile={"osDiskSizeGB": 4095}).properties.vm_profile.os_disk_size_gb == 4095


def test_a_gallery_target_tells_its_definition_version_and_regions() -> None:
    explicit = SHARED | {"galleryImageId": f"{DEFINITION_ID}/versions/1.2.3", "replicationRegions": ["a", "b"]}
    target = template(distribute=[explicit]).properties.distribute[0]
    assert isinstance(target, SharedImageTarget)
    assert (str(target.image_definition), target.explicit_version) == (DEFINITION_ID, "1.2.3")
    assert [region.name for region in target.regions] == ["a", "b"]
    automatic = template(distribute=[SHARED | {"versioning": {"scheme": "Latest", "major": 0}}])
    target = automatic.properties.distribute[0]
    assert isinstance(target, SharedImageTarget)
    assert target.explicit_version is None
    assert target.model_dump()["versioning"] == {"scheme": "Latest", "major": 0}


@pytest.mark.parametrize(
    ("network", "path"),
    [
        ({"containerInstanceSubnetId": SUBNET_ID}, "containerInstanceSubnetId"),
        ({"subnetId": SUBNET_ID, "containerInstanceSubnetId": SUBNET_ID.upper()}, "containerInstanceSubnetId"),
        ({"subnetId": SUBNET_ID, "containerInstanceSubnetId": OTHER_NETWORK}, "containerInstanceSubnetId"),
        ({"subnetId": SUBNET_ID, "containerInstanceSubnetId": f"{SUBNET_ID}2", "proxyVmSize": "x"}, "proxyVmSize"),
        ({"subnetId": IMAGE_ID}, "subnetId"),
        ({"name": "older"}, "name"),
    ],
)
def test_a_wrong_network_is_refused(network: dict[str, Any], path: str) -> None:
    assert f"properties.vmProfile.vnetConfig.{path}" in mistakes(body(vmProfile={"vnetConfig": network}))


def test_a_type_that_is_no_text_is_refused_whatever_the_source() -> None:
    source = {"type": "ManagedImage", "imageId": IMAGE_ID}
    found = mistakes(body(source=source, customize=[{"type": ["Shell"], "inline": ["a"]}]))
    assert list(found) == ["properties.customize[0].type"]


def test_the_previews_have_shapes_of_their_own() -> None:
    network = {"name": "v", "subnetName": "s", "resourceGroupName": "g"}
    step = {"type": "shell", "script": "https://x/y.sh"}
    iso = {"type": "ISO", "sourceURI": "https://x/y.iso", "sha256Checksum": "0" * 64}
    properties = {"vmProfile": {"vnetConfig": network}, "customize": [step], "source": iso}
    found = template("2019-02-01-preview", **properties)
    assert found.properties.vm_profile.vnet_config.subnet_name == "s"
    assert [file.uri for file in found.scripts] == ["https://x/y.sh"]
    assert "properties.source.type" in mistakes(body(**properties), "2020-02-14")


def test_every_external_file_is_listed_with_its_place() -> None:
    script = {"type": "Shell", "scriptUri": "a.sh", "sha256Checksum": "0" * 64}
    file = {"type": "File", "sourceUri": "file:b", "destination": "/tmp/b"}
    found = template(
        customize=[{"type": "Shell", "inline": ["x"]}, script, file],
        optimize={"workload": {"state": "Enabled", "scriptUri": "https://x/w"}},
        validate={"inVMValidations": [script]},
    )
    assert [(item.path, item.uri, item.sha256_checksum) for item in found.scripts] == [
        ("properties.customize[1].scriptUri", "a.sh", "0" * 64),
        ("properties.customize[2].sourceUri", "file:b", ""),
        ("properties.optimize.workload.scriptUri", "https://x/w", ""),
        ("properties.validate.inVMValidations[0].scriptUri", "a.sh", "0" * 64),
    ]


FULL = body(
    customize=[{"type": "Shell", "scriptUri": "a.sh"}, {"type": "File", "sourceUri": "b", "destination": "/tmp/b"}],
    validate={"inVMValidations": [{"type": "Shell", "inline": ["x"]}]},
    distribute=[
        MANAGED,
        SHARED | {"runOutputName": "b", "targetRegions": [{"name": "x"}], "versioning": {"scheme": "Source"}},
    ],
    vmProfile={"vmSize": "Standard_D1_v2", "vnetConfig": {"subnetId": SUBNET_ID}},
    optimize={"vmBoot": {"state": "Enabled"}},
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items: list[Any] = []
    if isinstance(value, dict | list):
        items = list(value.items()) if isinstance(value, dict) else list(enumerate(value))
    return [path, *(place for key, item in items for place in places(item, (*path, key)))][1 if not path else 0 :]


@settings(max_examples=tiers.cheap_examples())
@given(
    st.sampled_from(places(FULL)),
    st.sampled_from(
        [None, "", 0, -1, 1.5, True, [], {}, "x", [None], [{}], {"type": []}, {"type": "Shell"}, {"scheme": 1}]
    ),
    st.sampled_from(["2019-05-01-preview", "2021-10-01", "2025-10-01"]),
)
def test_any_value_at_any_place_is_accepted_or_refused_by_us(place: tuple[Any, ...], value: Any, version: str) -> None:
    document = copy.deepcopy(FULL)
    here: Any = document
    for key in place[:-1]:
        here = here[key]
    here[place[-1]] = value
    named = ["accepted"]
    try:
        check_image_template(document, api_version=version).model_dump_json()
    except TemplateInvalid as error:
        named = [mistake.path for mistake in error.mistakes if mistake.message]
    assert named
    assert all(named)


def test_a_number_with_nothing_behind_its_point_is_whole() -> None:
    assert template(buildTimeoutInMinutes=120.0).build_timeout_seconds == 120 * 60
    assert "not 120.5" in mistakes(body(buildTimeoutInMinutes=120.5))["properties.buildTimeoutInMinutes"]


@pytest.mark.parametrize("wrong", ["echo hi", {"type": "Shell"}])
def test_what_should_be_a_list_is_told_so(wrong: Any) -> None:
    assert "put it in brackets" in mistakes(body(customize=wrong))["properties.customize"]


def test_a_number_where_a_text_belongs_is_told_to_be_quoted() -> None:
    """YAML makes a number of `sku: 12`."""
    found = mistakes(body(source={**LINUX, "sku": 12, "offer": True}))
    assert found["properties.source.sku"].endswith('(put it in quotes: "12")')
    assert found["properties.source.offer"].endswith('(put it in quotes: "true")')
