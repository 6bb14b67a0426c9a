"""Whatever is wrong in a template file, it is told as a mistake: files that are right but for one to three places."""

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
import tiers
from test_templates_inside import AZAPI_VALUES, BODY, PULUMI, RESOURCE, RESOURCE_TASK, SHOWN, deployment

from vmkiln.errors import VmkilnError
from vmkiln.template.template_file import read_image_template

EXAMPLES = 400
NESTED = {
    "type": "Microsoft.Resources/deployments",
    "apiVersion": "2022-09-01",
    "name": "in",
    "properties": {
        "expressionEvaluationOptions": {"scope": "inner"},
        "template": {**deployment(), "outputs": {"o": {"type": "object", "value": {"where": {"value": "x"}}}}},
        "parameters": "[reference('first').outputs.o.value]",
    },
}
FILES: list[Any] = [
    BODY,
    SHOWN,
    [RESOURCE, SHOWN],
    {"resource": {"azapi_resource": {"a": AZAPI_VALUES}}},
    {"version": 4, "resources": [{"type": "azapi_resource", "instances": [{"attributes": AZAPI_VALUES}]}]},
    {"resources": {"a": PULUMI}},
    [{"tasks": [{"azure_rm_resource": RESOURCE_TASK}, {"azure_rm_deployment": {"template": deployment()}}]}],
    deployment(),
    {"$schema": "s", "resources": [{**NESTED, "name": "first"}, NESTED], "variables": {"v": [1, {"a": "b"}]}},
]
WRONG = (
    *(None, 0, -1, 1.5, 10**30, True, "", "x", "[", "[[x]", "${a}", "\u0000", [], {}, [None], [[]], [{}], {"a": None}),
    *("[variables('v')]", "[reference('q')]", "[createArray(1)]", "[if(true(), 1, 2)]", "[parameters('none')]"),
    {"copy": [{"name": "x", "count": 1, "input": 1}]},
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from places(value[key], (*path, key))


def mutated(document: Any, choose: random.Random) -> Any:
    """A document in which one place has another value, lacks its member, or has it by another name."""
    holder = {"whole": copy.deepcopy(document)}
    *path, last = choose.choice([path for path in places(holder) if path])
    inside: Any = holder
    for key in path:
        inside = inside[key]
    value = inside[last]
    if isinstance(inside, dict) and path and choose.random() < 0.3:
        del inside[last]
        inside[choose.choice([str(last).upper(), "copy", "$ref", "existing", "condition"])] = value
    else:
        inside[last] = copy.deepcopy(choose.choice(WRONG))
    return holder["whole"]


@pytest.mark.parametrize("index", range(len(FILES)))
def test_what_is_wrong_in_a_file_is_told_as_a_mistake(index: int) -> None:
    choose = random.Random(tiers.seed() + index)  # noqa: S311 (for examples)
    for _ in range(EXAMPLES // len(FILES)):
        document = FILES[index]
        for _ in range(choose.randint(1, 3)):
            document = mutated(document, choose)
        try:
            read_image_template(json.dumps(document), file_name="x.json")
        except VmkilnError:
            continue
        except Exception as error:
            raise AssertionError(json.dumps(document)) from error


@pytest.mark.parametrize("resources", [-1, "x", {"a": 1}, [1], None, True])
def test_resources_that_are_none_are_refused(resources: Any) -> None:
    with pytest.raises(VmkilnError):
        read_image_template(json.dumps({"version": 4, "resources": resources}), file_name="x.json")


@pytest.mark.parametrize("output", [[None], "x", None, 7])
def test_an_output_that_is_no_object_is_refused_where_it_is_asked_for(output: Any) -> None:
    first = copy.deepcopy({**NESTED, "name": "first"})
    first["properties"]["template"]["outputs"]["o"] = output
    first["properties"]["template"]["resources"] = []
    first["properties"]["parameters"] = {}
    with pytest.raises(VmkilnError, match="must be an object with type and value"):
        read_image_template(json.dumps({"$schema": "s", "resources": [first, NESTED]}), file_name="x.json")
