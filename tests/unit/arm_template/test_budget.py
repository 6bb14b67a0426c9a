"""No template, however small, causes work without bound: steps and bytes are counted by the interpreter, not by us.

The budget is made small here, so that thousands of templates can be tried; what is held is that real work and real
memory stay in proportion to it.
"""

import sys
import tracemalloc
from collections import deque
from types import FrameType
from typing import Any

import pytest
import tiers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vmkiln.arm_template import budget as budget_module
from vmkiln.arm_template.budget import MAXIMUM_BYTES, MAXIMUM_STEPS, Budget
from vmkiln.arm_template.deployment_context import DeploymentContext
from vmkiln.arm_template.deployment_plan import DeploymentPlan
from vmkiln.arm_template.planned_resource import runtime_before
from vmkiln.errors import TemplateInvalid

CONTEXT = DeploymentContext(subscription_id="s", resource_group="g")
FEW_STEPS, FEW_BYTES = 5_000, 1024**2
EVENTS_A_STEP = 40  # calls of Python's and of C functions
USUAL_EVENTS = 200_000  # of what comes before and after: parsing, imports, messages
MOST_HELD = 12 * 1024**2  # bytes; one text, its escapes and one result may each have a mebibyte before they are refused


def template(value: str, *, kind: str = "object", **members: Any) -> dict[str, Any]:
    return {"resources": [], "outputs": {"o": {"type": kind, "value": f"[{value}]"}}, **members}


def evaluated(document: dict[str, Any]) -> str:
    """Everything that a deployment needs evaluated; what it is refused for, or ''."""
    try:
        plan = DeploymentPlan(document, {}, CONTEXT)
        for resource in plan.planned():
            plan.body(resource, None)
        plan.outputs(None)
    except TemplateInvalid as error:
        return str(error)
    return ""


class Cost:
    """What something really costs: calls of functions, and the most memory held."""

    def __init__(self) -> None:
        self.events = 0
        self.held = 0

    def _seen(self, _frame: FrameType, event: str, _argument: object) -> None:
        if event in {"call", "c_call"}:
            self.events += 1

    def __enter__(self) -> "Cost":
        tracemalloc.start()
        sys.setprofile(self._seen)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)
        self.held = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()


@pytest.fixture
def _small_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget_module, "MAXIMUM_STEPS", FEW_STEPS)
    monkeypatch.setattr(budget_module, "MAXIMUM_BYTES", FEW_BYTES)


COUNTS = st.sampled_from(["0", "1", "9", "700", "9999", "1048576"])
LEAVES = st.one_of(
    st.builds("range(0,{})".format, COUNTS),
    st.builds("padLeft('a',{})".format, COUNTS),
    st.builds("padLeft('',{},',')".format, COUNTS),
    st.sampled_from(["'a,b'", "createArray()", "createObject()", "7", "lambdaVariables('x')", "lambdaVariables('y')"]),
    st.sampled_from(["variables('v9')", "variables('looped')", "n.f('a')", "resourceGroup()", "json('[[],[{}]]')"]),
)
ONE = [
    *("string({0})", "json(string({0}))", "length({0})", "split({0},',')", "split({0},split('a,b,c,d',','))"),
    *("items({0})", "flatten({0})", "base64(string({0}))", "base64ToJson(base64(string({0})))", "uniqueString({0})"),
    *("map(range(0,9999),lambda('x',{0}))", "map({0},lambda('x',lambdaVariables('x')))", "toUpper({0})"),
    *("filter({0},lambda('x',contains({0},lambdaVariables('x'))))", "uriComponent({0})", "dataUriToString({0})"),
    *("toObject({0},lambda('x',concat('k',lambdaVariables('x'))))", "utcNow({0})", "first({0})", "array({0})"),
    *("groupBy({0},lambda('x',string(lambdaVariables('x'))))", "mapValues({0},lambda('x',{0}))", "max({0})"),
    *("sort({0},lambda('x','y',less(lambdaVariables('x'),lambdaVariables('y'))))", "shallowMerge({0})"),
    *("format(replace(padLeft('',9999),' ','{{0}}'),{0})", "format('{{0,-9999}}{{0,9999}}',{0})", "objectKeys({0})"),
]
TWO = [
    *("union({0},{1})", "intersection({0},{1})", "concat({0},{1})", "createArray({0},{1})", "equals({0},{1})"),
    *("contains({0},{1})", "indexOf({0},{1})", "lastIndexOf({0},{1})", "join({0},{1})", "split({0},{1})"),
    *("replace({0},'a',{1})", "createObject('a',{0},'b',{1})", "startsWith({0},{1})", "guid({0},{1})"),
    *("reduce({0},{1},lambda('x','y',createArray(lambdaVariables('x'),lambdaVariables('x'))))", "skip({0},{1})"),
    *("reduce({0},{1},lambda('x','y',concat(lambdaVariables('x'),lambdaVariables('x'))))", "take({0},{1})"),
    *("reduce({0},{1},lambda('x','y',union(lambdaVariables('x'),createArray(lambdaVariables('y')))))", "uri({0},{1})"),
    *("reduce({0},{1},lambda('x','y',createObject('k',lambdaVariables('x'))))", "if({0},{1},{1})", "mul({0},{1})"),
    *("map({0},lambda('x',map({1},lambda('y',union(lambdaVariables('x'),lambdaVariables('y'))))))", "add({0},{1})"),
    *("tryGet({0},{1})", "resourceId('M.X/y',{0},{1})", "toLogicalZones('s',{1},{0})", "dateTimeAdd({0},{1})"),
]
EXPRESSIONS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(lambda form, one: form.format(one), st.sampled_from(ONE), inner),
        st.builds(lambda form, one, two: form.format(one, two), st.sampled_from(TWO), inner, inner),
    ),
    max_leaves=6,
)


def around(expression: str, shape: str) -> dict[str, Any]:
    """A template that has an expression in one of the places where it may be evaluated again and again."""
    doubled = {f"v{i}": f"[createArray(variables('v{i - 1}'),variables('v{i - 1}'))]" for i in range(1, 10)}
    loops = [{"name": "looped", "count": 800, "input": f"[{expression}]" if shape == "variables" else "a"}]
    function = {"parameters": [{"name": "p", "type": "string"}], "output": {"type": "string", "value": "[concat('a')]"}}
    shared = {
        "variables": {"v0": "a", **doubled, "copy": loops},
        "functions": [{"namespace": "n", "members": {"f": function}}],
    }
    resource = {"type": "M.X/y", "apiVersion": "1", "name": "[concat('a',copyIndex())]"}
    loop = {"name": "l", "count": 800}
    if shape == "resources":
        body = {"a": f"[{expression}]", "copy": [{"name": "b", "count": 800, "input": f"[{expression}]"}]}
        return {"resources": [{**resource, "copy": loop, "properties": body}], **shared}
    if shape == "nested":
        inner = {"expressionEvaluationOptions": {"scope": "inner"}, "template": template(expression, **shared)}
        nested = {**resource, "type": "Microsoft.Resources/deployments", "copy": loop, "properties": inner}
        return {"resources": [nested], **shared}
    if shape == "waits":
        return {"resources": [{**resource, "copy": loop, "dependsOn": f"[{expression}]"}], **shared}
    return template(expression, **shared)


@given(EXPRESSIONS, st.sampled_from(["output", "variables", "resources", "nested", "waits"]))
@settings(
    max_examples=tiers.examples(40),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
)
@pytest.mark.usefixtures("_small_budget")
def test_no_small_template_costs_more_than_the_budget(expression: str, shape: str) -> None:
    document = around(expression, shape)
    with Cost() as cost:
        refused = evaluated(document)
    assert cost.events <= EVENTS_A_STEP * FEW_STEPS + USUAL_EVENTS, refused
    assert cost.held <= FEW_BYTES + MOST_HELD, refused


@pytest.mark.usefixtures("_small_budget")
def test_without_a_budget_the_same_templates_cost_far_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: what counts the cost sees it when nothing holds it."""
    many = template("length(map(range(0,150),lambda('x',map(range(0,150),lambda('y',1)))))")
    large = template("length(map(range(0,40),lambda('x',padLeft('a',1048576))))")
    monkeypatch.setattr(Budget, "work", lambda _self, _steps: None)
    monkeypatch.setattr(Budget, "make", lambda _self, _size: None)
    with Cost() as cost:
        evaluated(many)
    assert cost.events > EVENTS_A_STEP * FEW_STEPS + USUAL_EVENTS
    with Cost() as cost:
        evaluated(large)
    assert cost.held > FEW_BYTES + MOST_HELD


@pytest.mark.parametrize(
    ("value", "spent"),
    [
        ("length(map(range(0,2000),lambda('x',padLeft('a',1048576))))", "64 MiB"),
        ("length(map(range(0,2000),lambda('x',split(padLeft('a',1048576),' '))))", "64 MiB"),
        ("length(format(replace(padLeft('',100000),' ','{0,9000}'),1))", "64 MiB"),
        ("length(map(range(0,9999),lambda('x',map(range(0,9999),lambda('y',1)))))", "steps"),
        ("length(split(padLeft('a',1000000),map(range(0,999),lambda('x',concat('b',lambdaVariables('x'))))))", "steps"),
        ("length(map(range(0,9999),lambda('x',contains(range(0,9999),'a'))))", "steps"),
        ("length(map(range(0,9999),lambda('x',json(concat('[',replace(padLeft('',9999),' ','[],'),'1]')))))", "steps"),
        ("length(map(range(0,9999),lambda('x',string(range(0,9999)))))", "steps"),
        ("length(sort(range(0,9999),lambda('x','y',less(lambdaVariables('x'),lambdaVariables('y')))))", "steps"),
        ("length(map(range(0,9999),lambda('x',uriComponent(padLeft('',300000,'%')))))", "64 MiB"),
    ],
)  # fmt: skip
def test_what_costs_too_much_is_refused_at_its_field(value: str, spent: str) -> None:
    message = evaluated(template(value))
    assert "outputs.o: " in message
    assert f"more than {spent}" in message or f"more than {MAXIMUM_STEPS} {spent}" in message


@pytest.mark.parametrize("name", ["union", "intersection"])
def test_arrays_are_joined_and_crossed_in_linear_time(name: str) -> None:
    steps = []
    for count in (500, 5000):
        value = f"length({name}(range(0,{count}),range({count},{count})))"
        plan = DeploymentPlan(template(value, kind="int"), {}, CONTEXT)
        plan.outputs(None)
        steps.append(plan.budget.steps)
    assert steps[1] <= 11 * steps[0]


def test_all_the_deployments_in_one_another_share_one_budget() -> None:
    inner = {
        "expressionEvaluationOptions": {"scope": "inner"},
        "template": template("length(map(range(0,5000),lambda('x',1)))", kind="int"),
    }
    loop = {"name": "l", "count": 100}
    nested = {"type": "Microsoft.Resources/deployments", "apiVersion": "1", "name": "[concat('a',copyIndex())]"}
    plan = DeploymentPlan({"resources": [{**nested, "copy": loop, "properties": inner}]}, {}, CONTEXT)
    first, *others = plan.planned()
    assert plan.child(first, None).outputs(None)
    with pytest.raises(TemplateInvalid, match=f"more than {MAXIMUM_STEPS} steps"):
        deque((plan.child(resource, None).outputs(None) for resource in others), maxlen=0)


@pytest.mark.parametrize(("outputs", "is_refused"), [(3_000, False), (20_000, True)])
def test_who_waits_for_resources_costs_what_it_takes_to_find_them(outputs: int, is_refused: bool) -> None:
    """Nothing is asked for beforehand, and a deployment of many modules names thousands of their outputs."""
    made = {"type": "Microsoft.X/things", "apiVersion": "1", "name": "[concat('a', copyIndex())]"}
    document = {
        "resources": [{**made, "copy": {"name": "l", "count": 200}}],
        "outputs": {f"o{i}": {"type": "string", "value": "[reference('a199').x]"} for i in range(outputs)},
    }
    plan = DeploymentPlan(document, {}, CONTEXT)
    found = plan.output_mistakes(runtime_before(plan))
    assert [f"more than {MAXIMUM_STEPS} steps" in str(mistake) for mistake in found] == [True] * is_refused


def test_a_type_that_many_parameters_name_is_not_copied_without_bound() -> None:
    wide = {"type": "string", **{f"m{index}": 1 for index in range(5_000)}}
    parameters = {f"p{index}": {"$ref": "#/definitions/wide"} for index in range(5_000)}
    with pytest.raises(TemplateInvalid, match=f"{MAXIMUM_BYTES // 1024**2} MiB"):
        DeploymentPlan({"resources": [], "definitions": {"wide": wide}, "parameters": parameters}, {}, CONTEXT)


def test_a_member_with_a_long_name_costs_its_elements_little() -> None:
    """Each element has a path, and a path had the whole name."""
    document = template("variables('v')", variables={"v": {"k" * 100_000: ["a"] * 1_000}})
    plan = DeploymentPlan(document, {}, CONTEXT)
    assert plan.outputs(None)
    assert plan.budget.steps < 5_000


def test_a_hundred_mistakes_are_told_and_not_a_hundred_thousand() -> None:
    document = {"resources": [], "outputs": {f"o{i}": {"type": "string", "value": "[nothing()]"} for i in range(5_000)}}
    with pytest.raises(TemplateInvalid) as caught:
        DeploymentPlan(document, {}, CONTEXT).outputs(None)
    assert len(caught.value.mistakes) == 100


def test_a_hint_names_a_few_of_many_names() -> None:
    document = template("parameters('x')", parameters={f"p{i}": {"type": "string"} for i in range(50)})
    message = evaluated({**document, "parameters": {f"p{i}": {"type": "int", "defaultValue": 1} for i in range(50)}})
    assert "p11, and 38 more" in message


def test_a_template_of_usual_size_spends_a_small_part() -> None:
    """400 resources with scripts of 50,000 letters each."""
    resource = {
        "type": "M.X/y",
        "apiVersion": "1",
        "name": "[concat('a',copyIndex())]",
        "copy": {"name": "l", "count": 400},
    }
    body = {"script": "[concat(variables('s'),copyIndex())]", "id": "[resourceId('M.X/y',concat('a',copyIndex()))]"}
    document = {"resources": [{**resource, "properties": body}], "variables": {"s": "a" * 50_000}}
    plan = DeploymentPlan(document, {}, CONTEXT)
    for planned in plan.planned():
        plan.body(planned, None)
    assert plan.budget.steps < MAXIMUM_STEPS / 2
    assert plan.budget.made_bytes < MAXIMUM_BYTES / 2
