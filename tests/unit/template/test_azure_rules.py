"""Identity, tags, targets and regions are held against Azure's own rules, whoever builds the template."""

from typing import Any

import pytest

from vmkiln.azure_locations import usual_location
from vmkiln.errors import TemplateInvalid
from vmkiln.template.checked_template import check_image_template
from vmkiln.template.image_template import ImageTemplate

IDENTITY_ID = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/i"
GALLERY = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/galleries/g/images/d"


def checked(*, api_version: str = "2024-02-01", **changes: Any) -> ImageTemplate:
    properties = {
        "source": {"type": "PlatformImage", "publisher": "Debian", "offer": "debian-12", "sku": "12"},
        "distribute": [{"type": "VHD", "runOutputName": "o"}],
        **changes.pop("properties", {}),
    }
    body = {"location": "West US 2", "identity": {"type": "None"}, "properties": properties, **changes}
    return check_image_template(body, api_version=api_version)


def mistakes(**changes: Any) -> dict[str, str]:
    with pytest.raises(TemplateInvalid) as caught:
        checked(**changes)
    return {mistake.path: mistake.message for mistake in caught.value.mistakes}


@pytest.mark.parametrize("kind", ["SystemAssigned", "SystemAssigned, UserAssigned"])
def test_an_image_template_has_no_identity_of_its_own(kind: str) -> None:
    assert mistakes(identity={"type": kind})["identity.type"] == f"`{kind}` is not allowed here"


def test_an_identity_of_a_user_is_named_since_2020() -> None:
    empty = {"type": "UserAssigned", "userAssignedIdentities": {}}
    assert "is empty" in mistakes(identity=empty)["identity.userAssignedIdentities"]
    assert "is empty" in mistakes(identity=empty, api_version="2020-02-14")["identity.userAssignedIdentities"]
    checked(identity=empty, api_version="2019-05-01-preview")
    checked(identity={"type": "UserAssigned", "userAssignedIdentities": {IDENTITY_ID: {}}})


@pytest.mark.parametrize("place", ["tags", "managedResourceTags", "artifactTags"])
@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({f"t{n}": "x" for n in range(51)}, "has 51 tags"),
        ({"n" * 513: "x"}, "has 513 letters"),
        ({"a<b>%&\\?/": "x"}, "holds `%&/<>?\\`"),
        ({"t": "v" * 257}, "has 257 letters"),
        ({"Owner": "a", "owner": "b"}, "are one name"),
    ],
)
def test_the_limits_of_tags_hold_everywhere(place: str, tags: dict[str, str], words: str) -> None:
    changes: dict[str, Any] = {"tags": tags}
    if place == "managedResourceTags":
        changes = {"properties": {place: tags}}
    elif place == "artifactTags":
        changes = {"properties": {"distribute": [{"type": "VHD", "runOutputName": "o", place: tags}]}}
    found = mistakes(**changes)
    assert any(place in path and words in message for path, message in found.items())


def test_tags_within_the_limits_pass() -> None:
    checked(tags={**{f"t{n}": "v" * 256 for n in range(49)}, "n" * 512: ""})


def test_an_image_goes_somewhere_unless_only_the_source_is_validated() -> None:
    assert "is empty" in mistakes(properties={"distribute": []})["properties.distribute"]
    checked(properties={"distribute": [], "validate": {"sourceValidationOnly": True}})


@pytest.mark.parametrize("member", ["replicationRegions", "targetRegions"])
def test_a_region_stands_once_whichever_way_it_is_written(member: str) -> None:
    names = ["westus2", "West US 2", "eastus", "WESTUS2"]
    regions = names if member == "replicationRegions" else [{"name": name} for name in names]
    target = {"type": "SharedImage", "runOutputName": "o", "galleryImageId": GALLERY, member: regions}
    found = mistakes(properties={"distribute": [target]})
    end = "" if member == "replicationRegions" else ".name"
    assert found.keys() == {f"properties.distribute[0].{member}[{index}]{end}" for index in (1, 3)}


@pytest.mark.parametrize(
    ("written", "usual"),
    [("West US 2", "westus2"), ("WESTEUROPE", "westeurope"), ("my lab", "my lab"), ("Here", "Here"), ("x", "x")],
)
def test_a_known_location_is_written_as_azure_writes_it(written: str, usual: str) -> None:
    assert usual_location(written) == usual
    assert checked(location=written).location == usual


def test_an_exact_version_wins_over_a_scheme_with_a_warning() -> None:
    target = {"type": "SharedImage", "runOutputName": "o", "galleryImageId": f"{GALLERY}/versions/1.2.3"}
    found = checked(properties={"distribute": [{**target, "versioning": {"scheme": "Latest"}}]})
    [warning] = found.warnings
    assert warning.startswith("properties.distribute[0].versioning: has no effect")


def test_no_text_holds_nul() -> None:
    """The service refuses it in every request, for no database keeps it."""
    steps = [{"type": "Shell", "inline": ["echo a", "echo \0"]}]
    found = mistakes(tags={"a": "\0"}, properties={"customize": steps})
    assert found.keys() == {"tags.a", "properties.customize[0].inline[1]"}
