"""A mistake in a nested deployment is told once, at its place in the file, whatever led to it."""

from typing import Any

import pytest
from test_local_deployment import document, image, nested, read

from vmkiln.errors import TemplateInvalid

INSIDE = "resources[0].properties.template."
WRONG = "[no(1)]"


def places(template: dict[str, Any]) -> list[str]:
    """Where the mistakes are, each as often as it is told."""
    with pytest.raises(TemplateInvalid) as caught:
        read(template)
    return [mistake.path for mistake in caught.value.mistakes]


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize(
    ("members", "place"),
    [
        ({"condition": "maybe"}, "resources[0].condition"),
        ({"condition": WRONG}, "resources[0].condition"),
        ({"copy": "three"}, "resources[0].copy"),
        ({"copy": {"name": "each", "count": WRONG}}, "resources[0].copy"),
    ],
    ids=str,
)
def test_what_is_wrong_around_a_nested_image_template_has_its_place(
    members: dict[str, Any], place: str, depth: int
) -> None:
    found = document([image(**members)])
    for level in range(depth):
        found = document([nested(f"level{level}", found)])
    assert places(found) == [f"{INSIDE * depth}{place}"]


@pytest.mark.parametrize(
    ("members", "place"),
    [
        ({"name": WRONG}, "name"),
        ({"condition": "maybe"}, "condition"),
        ({"copy": 3}, "copy"),
    ],
    ids=str,
)
def test_what_is_wrong_with_a_deployment_in_a_nested_one_has_its_place(members: dict[str, Any], place: str) -> None:
    deepest = nested("deepest", document([image()])) | members
    assert places(document([nested("inner", document([deepest]))])) == [f"{INSIDE}resources[0].{place}"]


@pytest.mark.parametrize(
    ("output", "members", "place"),
    [
        ({"value": "[variables('v')]"}, {"variables": {"v": WRONG}}, "variables.v"),
        ({"value": "[parameters('p')]"}, {"parameters": {"p": {"type": "string", "defaultValue": WRONG}}}, None),
        ({"value": WRONG}, {}, "outputs.o"),
        ({"value": "a", "condition": "maybe"}, {}, "outputs.o.condition"),
        ({"value": 5}, {}, "outputs.o"),
    ],
    ids=str,
)
def test_what_is_wrong_with_an_output_of_a_nested_one_has_its_place(
    output: dict[str, Any], members: dict[str, Any], place: str | None
) -> None:
    inner = nested("inner", document([], outputs={"o": {"type": "string", **output}}, **members))
    assert places(document([inner, image()])) == [f"{INSIDE}{place or 'parameters.p'}"]


def test_what_template_and_outputs_need_is_told_once() -> None:
    needing = image(tags={"x": "[variables('v')]"})
    output = {"o": {"type": "string", "value": "[variables('v')]"}}
    inner = nested("inner", document([needing], variables={"v": WRONG}, outputs=output))
    assert places(document([inner])) == [f"{INSIDE}variables.v"]


def test_what_is_wrong_around_a_nested_one_has_its_place_outside() -> None:
    """An output of a nested deployment asks for a resource beside that deployment."""
    account = {"type": "Microsoft.Storage/storageAccounts", "apiVersion": "2023-01-01", "name": "beside"}
    asks = {"o": {"type": "string", "value": "[reference('beside').x]"}}
    inner = nested("inner", document([], outputs=asks))
    assert places(document([inner, image(), {**account, "properties": {"x": WRONG}}])) == ["resources[2].properties.x"]
