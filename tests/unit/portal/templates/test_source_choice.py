"""What the form of a new template offers as its source, and what a choice becomes."""

import json
from typing import Any

import pytest

from vmkiln.errors import TemplateInvalid
from vmkiln.portal.templates.source_choice import choices
from vmkiln.portal.templates.written_template import source_named, with_source

GROUP = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute"
FORM = {"subscription": "s", "group": "g", "name": "n"}


def an_entry(name: str, how: str, **properties: Any) -> dict[str, Any]:
    publisher = name.partition(":")[0]
    ordinary = {"publisher": publisher, "how": how, "isTried": how != "fetched", "osType": "Linux"}
    return {"name": name, "properties": {**ordinary, "architecture": "x64", **properties}}


def an_image(path: str, kind: str) -> dict[str, Any]:
    return {"id": f"{GROUP}/{path}", "properties": {"kind": kind, "created": "2026-05-01T10:00:00Z"}}


def test_what_is_on_this_machine_stands_first_and_a_disk_file_not_at_all() -> None:
    platform = [
        an_entry("Acme:arm:1", "fetched", architecture="Arm64"),
        an_entry("Debian:debian-12:12", "made here"),
        an_entry("Mine:win:1", "imported", osType="Windows"),
    ]
    images = [
        an_image("images/web", "ManagedImage"),
        an_image("galleries/g/images/web/versions/1.0.0", "SharedImageVersion"),
        an_image("disks/x", "VHD"),
    ]
    found = {heading: [one.text for one in below] for heading, below in choices(platform, images).items()}
    assert found == {
        "Built here": ["web, 2026-05-01", "web 1.0.0, 2026-05-01"],
        "Imported": ["Mine:win:1, Windows"],
        "Made here": ["Debian:debian-12:12"],
        "Acme, fetched (not tried by us)": ["Acme:arm:1, Arm64"],
    }
    assert choices([], []) == {}


def test_a_choice_is_a_platform_image_a_managed_image_or_a_version() -> None:
    platform = {"type": "PlatformImage", "publisher": "a", "offer": "b", "sku": "c", "version": "latest"}
    version = f"{GROUP}/galleries/g/images/i/versions/1.0.0"
    assert source_named("a:b:c") == platform
    assert source_named(f"{GROUP}/images/i") == {"type": "ManagedImage", "imageId": f"{GROUP}/images/i"}
    assert source_named(version) == {"type": "SharedImageVersion", "imageVersionId": version}
    for wrong in ("a:b", "a::c", "a:b:c:d", "a", "/" + "x" * 1000):
        assert source_named(wrong) is None, wrong


def test_a_chosen_source_takes_the_place_of_the_one_in_the_text_alone() -> None:
    body = {"location": "x", "Properties": {"Source": {"type": "old"}, "distribute": ["ü"]}}
    found = with_source({**FORM, "source": "a:b:c", "body": json.dumps(body)})
    assert found["source"] == ""
    assert json.loads(found["body"]) == {**body, "Properties": {"Source": source_named("a:b:c"), "distribute": ["ü"]}}
    assert "ü" in found["body"]
    bare = with_source({**FORM, "source": "a:b:c", "body": "{}"})
    assert json.loads(bare["body"]) == {"properties": {"source": source_named("a:b:c")}}


@pytest.mark.parametrize(
    "body",
    ['{"a": 1, // why\n"b": 2}', '{"a": 1, "a": 2}', '{"a": 1, "A": 2}', "[]", '{"properties": []}', "", "[" * 9999],
)
def test_a_text_that_would_lose_something_keeps_its_source(body: str) -> None:
    with pytest.raises(TemplateInvalid) as caught:
        with_source({**FORM, "source": "a:b:c", "body": body})
    assert caught.value.mistakes[0].path == "source"
    assert with_source({**FORM, "source": "", "body": body})["body"] == body, "nothing was chosen"
