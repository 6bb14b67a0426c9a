"""What a resource of a deployment waits for: found by one dictionary, as the plain definition finds it, at a price."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmkiln.arm_template import planned_resource
from vmkiln.arm_template.budget import MAXIMUM_STEPS
from vmkiln.arm_template.deployment_context import DeploymentContext
from vmkiln.arm_template.deployment_plan import DeploymentPlan
from vmkiln.arm_template.planned_resource import PlannedResource
from vmkiln.errors import TemplateInvalid

IDENTITY = "Microsoft.ManagedIdentity/userAssignedIdentities"
CONTEXT = DeploymentContext(
    subscription_id="s", resource_group="g", location="local", tenant_id="t", template_name="deployment"
)


def identity(name: str, **members: Any) -> dict[str, Any]:
    return {"type": IDENTITY, "apiVersion": "2023-01-31", "name": name, "location": "local", **members}


def plan_of(resources: Any, **members: Any) -> DeploymentPlan:
    document = {"$schema": "s", "contentVersion": "1.0.0.0", "resources": resources, **members}
    return DeploymentPlan(document, {}, CONTEXT)


def looped(count: int, *names: str) -> DeploymentPlan:
    loop = identity("[concat('r', copyIndex())]", copy={"name": "loop", "count": count}, dependsOn=list(names))
    return plan_of([loop])


def by_definition(resource: PlannedResource, others: list[PlannedResource]) -> tuple[set[str], list[str]]:
    """A name means every resource that is called so in any of five ways: compared one by one."""
    keys, unknown = set(), []
    for text in resource.depends_on:
        wanted = text.lower().strip("/")
        meant = {
            other.key
            for other in others
            if wanted in (other.key.lower().strip("/"), other.loop.lower(), other.id.lower().strip("/"))
            or wanted in (other.name.lower(), f"{other.type}/{other.name}".lower())
        }
        keys |= meant - {resource.key}
        if not meant:
            unknown.append(text)
    return keys, list(dict.fromkeys(unknown))


NAMES = ("a", "B", "loop", "a/b")
ID = f"/subscriptions/s/resourceGroups/g/providers/{IDENTITY}/"
TEXTS = st.sampled_from(
    [*NAMES, "A", "LOOP", "/", "", "missing", *(f"{IDENTITY}/{name}" for name in NAMES), *(ID + name for name in "abR")]
)
RESOURCES = st.lists(
    st.builds(
        lambda name, waits, loop, is_wanted: identity(
            name, dependsOn=waits, condition=is_wanted, **({"copy": loop} if loop else {})
        ),
        st.sampled_from(["a", "B", "loop", "r"]),
        st.lists(TEXTS, max_size=4),
        st.sampled_from([None, {"name": "loop", "count": 1}, {"name": "B", "count": 1}]),
        st.booleans(),
    ),
    min_size=1,
    max_size=5,
    unique_by=lambda item: item["name"].lower(),
)


@given(RESOURCES, st.booleans())
def test_what_a_resource_waits_for_is_what_the_plain_definition_says(
    resources: list[dict[str, Any]], has_symbols: bool
) -> None:
    named = {f"s{index}": item for index, item in enumerate(resources)} if has_symbols else resources
    planned = plan_of(named, languageVersion="2.0").planned()
    for resource in planned:
        assert (set(resource.waits_for), list(resource.unknown)) == by_definition(resource, planned)


def test_dependencies_cost_a_step_for_each_name_and_each_resource_it_means() -> None:
    few, many = looped(50), looped(50, "loop", "r1", "missing")
    few.planned()
    many.planned()
    own_names = 4 * 50  # `dependsOn` itself is evaluated as well: an array of three
    assert many.budget.steps - few.budget.steps <= own_names + 50 * (3 + 50 + 1)
    assert many.budget.steps - few.budget.steps >= 50 * (3 + 50 + 1)


def test_what_a_resource_is_called_is_worked_out_once_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def counted(resource: PlannedResource) -> set[str]:
        asked.append(resource.key)
        return names_of(resource)

    names_of = planned_resource.names_of
    monkeypatch.setattr(planned_resource, "names_of", counted)
    looped(40, "loop", "r1", "missing").planned()
    assert len(asked) == len(set(asked)) == 40, "not once more for each name that somebody waits for"


def test_resources_are_planned_once_however_often_they_are_asked_for() -> None:
    plan = looped(50, "loop")
    plan.planned()
    steps = plan.budget.steps
    plan.planned()
    assert plan.budget.steps == steps


def test_a_few_hundred_bytes_that_make_a_million_edges_are_refused() -> None:
    with pytest.raises(TemplateInvalid, match=f"more than {MAXIMUM_STEPS} steps"):
        looped(800, "loop").planned()


def test_four_hundred_resources_may_wait_for_as_many_others() -> None:
    variables = {"copy": [{"name": "many", "count": 400, "input": "[concat('r', copyIndex('many'))]"}]}
    loop = identity(
        "[concat('r', copyIndex())]", copy={"name": "l", "count": 400}, dependsOn="[variables('many')]", properties={}
    )
    planned = plan_of([loop], variables=variables).planned()
    assert {len(resource.waits_for) for resource in planned} == {399}
