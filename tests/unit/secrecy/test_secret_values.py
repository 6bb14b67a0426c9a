"""What expressions make of a secret is a secret; what they put it into is not."""

from typing import Any

import pytest

from vmkiln.arm_template.deployment_context import DeploymentContext
from vmkiln.arm_template.deployment_plan import DeploymentPlan
from vmkiln.arm_template.parameters.deployment_parameters import GivenParameter
from vmkiln.secrecy.secret_mask import SecretMask

SECRET = "Hunter22-horse"


def masked(expression: str, **more: Any) -> tuple[Any, Any]:
    """What an output is, and as it is shown."""
    document = {
        "parameters": {
            "pw": {"type": "securestring"},
            "o": {"type": "secureObject", "defaultValue": {"k": "swordfish"}},
        },
        "resources": [],
        "outputs": {"x": {"type": "string", "value": f"[{expression}]"}},
        **more,
    }
    plan = DeploymentPlan(document, {"pw": GivenParameter("pw", SECRET, False)}, DeploymentContext())
    plan.planned()
    value = plan.outputs(None)["x"]["value"]
    return value, SecretMask.of(plan.secrets).value(value)


@pytest.mark.parametrize(
    ("expression", "shown"),
    [
        ("parameters('pw')", "***"),
        ("concat('a ', parameters('pw'), ' b')", "a *** b"),
        ("format('{0}-{1}', parameters('o').k, 'x')", "***-x"),
        ("base64(parameters('pw'))", "***"),
        ("concat('<', base64(concat('user:', parameters('pw'))), '>')", "<***>"),
        ("toUpper(substring(parameters('pw'), 2, 8))", "***"),
        ("first(split(parameters('pw'), '-'))", "***"),
        ("uniqueString(parameters('pw'))", "***"),
        ("replace(parameters('pw'), 'e', '3')", "***"),
        ("replace('use X now', 'X', parameters('pw'))", "use *** now"),
        (
            "join(map(createArray('q'), lambda('x', concat(lambdaVariables('x'), toLower(parameters('pw'))))), ',')",
            "q***",
        ),
        ("string(length(parameters('pw')))", str(len(SECRET))),
        ("if(empty(parameters('pw')), 'none', 'given')", "given"),
        ("first(createArray('plain', parameters('pw')))", "plain"),
        ("toUpper('plain')", "PLAIN"),
    ],
)
def test_what_is_made_of_a_secret_is_masked(expression: str, shown: str) -> None:
    value, found = masked(expression)
    assert found == shown
    assert SECRET not in str(found)
    assert value != found or "***" not in shown


def test_a_plain_parameter_whose_default_is_made_of_a_secret_is_masked() -> None:
    parameters = {
        "pw": {"type": "securestring"},
        "told": {"type": "string", "defaultValue": "[base64ToString(base64(toUpper(parameters('pw'))))]"},
    }
    assert masked("concat('x', parameters('told'))", parameters=parameters)[1] == "x***"
