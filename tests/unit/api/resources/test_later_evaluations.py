"""What a trial was told the evaluation is told as well, also what could not be told."""

from collections.abc import Callable, Mapping
from typing import Any, cast

import pytest

from vmkiln.api.resources.later_evaluations import Place, tried
from vmkiln.arm_template.deployment_context import DeploymentContext
from vmkiln.arm_template.deployment_plan import DeploymentPlan, NotReady
from vmkiln.errors import Mistake, TemplateInvalid
from vmkiln.trial.trials import Trials

ASKED = {"level": 0, "function": "reference", "arguments": ["x"], "path": "p"}


class Asking(Trials):
    """A trial that asks for one state."""

    def check_later(self, *arguments: Any) -> None:
        """Ask."""
        cast(Callable[[Mapping[str, Any]], Any], arguments[-1])(ASKED)


@pytest.mark.parametrize("error", [NotReady("x"), TemplateInvalid([Mistake("p", "it is not there")])])
def test_what_was_not_there_in_the_trial_is_not_there_afterwards(error: Exception) -> None:
    """Or what becomes known between the two would be evaluated without a trial."""
    states: list[Exception] = [error]

    def runtime(_function: str, _arguments: list[Any], _path: str) -> Any:
        if states:
            raise states.pop()
        return "there by now"

    plan = DeploymentPlan({"resources": []}, {}, DeploymentContext(subscription_id="s", resource_group="g"))
    told = tried(Asking(), Place(plan, (), (runtime,)), "outputs")
    with pytest.raises(type(error)):
        told("reference", ["x"], "p")
    assert told("reference", ["another"], "p") == "there by now"
