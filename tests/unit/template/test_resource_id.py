"""ARM ids are parsed, compared without regard to case, and printed as they were written."""

import pytest
import tiers
from hypothesis import given, settings
from hypothesis import strategies as st

from vmkiln.errors import InputError
from vmkiln.template.resource_id import parse_resource_id

VERSION = "/subscriptions/s/resourceGroups/Images/providers/Microsoft.Compute/galleries/g/images/d/versions/1.2.3"


def test_an_image_version_is_taken_apart() -> None:
    found = parse_resource_id(VERSION)
    assert (found.subscription_id, found.resource_group) == ("s", "Images")
    assert found.type == "Microsoft.Compute/galleries/images/versions"
    assert found.name == "1.2.3"
    assert found.parent is not None
    assert found.parent.name == "d"
    assert found.parent.child("versions", "1.2.3") == found
    assert str(found) == VERSION


def test_case_does_not_matter_for_equality() -> None:
    lower = parse_resource_id(VERSION.lower())
    assert lower == parse_resource_id(VERSION)
    assert hash(lower) == hash(parse_resource_id(VERSION))
    assert lower.is_a("Microsoft.Compute/Galleries/images/versions")


def test_a_resource_group_has_an_id_too() -> None:
    found = parse_resource_id("/subscriptions/s/resourceGroups/g")
    assert found.is_a("Microsoft.Resources/resourceGroups")
    assert found.name == "g"
    assert found.parent is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not an ARM id"),
        ("latest", "not an ARM id"),
        ("/subscriptions/s", "incomplete"),
        ("/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/images", "incomplete"),
        ("/subscriptions/s/resourceGroups/../providers/Microsoft.Compute/images/i", "cannot be a name"),
        ("/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/images/a\x00b", "cannot be a name"),
        ("/resourceGroups/g/providers/Microsoft.Compute/images/i", "does not start with"),
        ("/subscriptions/<subscriptionID>/resourceGroups/g", "placeholder `<subscriptionID>`"),
    ],
)
def test_what_is_no_id_is_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_resource_id(text)


@settings(max_examples=tiers.cheap_examples())
@given(st.text(max_size=40) | st.builds("/subscriptions/{}/resourceGroups/{}".format, st.text(), st.text()))
def test_any_text_is_an_id_that_prints_to_itself_or_is_refused(text: str) -> None:
    try:
        found = parse_resource_id(text)
    except InputError:
        return
    assert parse_resource_id(str(found)) == found
    assert ".." not in str(found).split("/")
