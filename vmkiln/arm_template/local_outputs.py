"""What comes out of a deployment that is read on the command line: its outputs, and what is wrong with them.

They are looked at before anything starts, as the service does. An output that asks for what only Azure knows, such as
the principal of an identity, is no mistake: it is left open, with what it asks for.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from vmkiln.arm_template.budget import MOST_MISTAKES
from vmkiln.arm_template.deployment_plan import Output
from vmkiln.arm_template.deployment_template import MAXIMUM_DEPTH, NESTED
from vmkiln.arm_template.local_deployment import LocalDeployment
from vmkiln.errors import Mistake, MistakeKind, TemplateInvalid
from vmkiln.harmless_text import harmless
from vmkiln.secrecy.secret_mask import SecretMask

HEADING = "outputs of the deployment"


@dataclass(frozen=True)
class LocalOutput:
    """One output by its name: its type as ARM shows it and its value, or why nobody knows that here.

    A secure one has no value.
    """

    name: str
    type: str = ""
    value: Any = None
    is_secure: bool = False
    not_known: str = ""

    def masked(self, mask: SecretMask) -> "LocalOutput":
        """The same without secrets; pure."""
        return replace(self, value=mask.value(self.value), not_known=mask(self.not_known))


def outputs_of(deployment: LocalDeployment) -> tuple[LocalOutput, ...]:
    """The outputs of a file's deployment. Raises TemplateInvalid with every mistake, in nested deployments too."""
    deployment.budget.renew()
    try:
        found, mistakes = _outputs(deployment)
        mistakes += _nested_mistakes(deployment)
    except RecursionError:
        raise TemplateInvalid([Mistake("outputs", "expressions are nested too deeply")]) from None
    if mistakes:
        raise TemplateInvalid(list(dict.fromkeys(mistakes))[:MOST_MISTAKES])
    return found


def outputs_as_data(outputs: tuple[LocalOutput, ...]) -> dict[str, dict[str, Any]]:
    """As `az deployment group show` prints `properties.outputs`; what nobody knows here has `not_known`; pure."""
    return {output.name: _as_data(output) for output in outputs}


def _as_data(output: LocalOutput) -> dict[str, Any]:
    kind: Mapping[str, Any] = {"type": output.type} if output.type else {}
    if output.not_known:
        return {**kind, "not_known": output.not_known}
    return {**kind} if output.is_secure else {**kind, "value": output.value}


def outputs_lines(outputs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A heading and a line for each output, as `outputs_as_data` has them; nothing for none; pure."""
    return [HEADING, *(f"  {harmless(name)}: {_shown(told)}" for name, told in outputs.items())] if outputs else []


def _shown(told: Mapping[str, Any]) -> str:
    if "not_known" in told:
        return f"not known here: {harmless(told['not_known'])}"
    if "value" not in told:
        return f"not shown, for it is of type {harmless(told['type'])}"
    value = told["value"]
    return harmless(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _outputs(deployment: LocalDeployment) -> tuple[tuple[LocalOutput, ...], list[Mistake]]:
    """The outputs that are right, and what is wrong with the others."""
    found: list[LocalOutput] = []
    mistakes: list[Mistake] = []
    for name in deployment.declared_outputs:
        try:
            output = deployment.output(name, deployment.answer)
        except TemplateInvalid as error:
            wrong = [mistake for mistake in error.mistakes if mistake.kind is not MistakeKind.NOT_KNOWN_HERE]
            mistakes += wrong
            if not wrong:
                found.append(LocalOutput(name, not_known="; ".join(mistake.message for mistake in error.mistakes)))
            if deployment.budget.is_spent or len(mistakes) >= MOST_MISTAKES:
                break
        else:
            found += [_told(name, output)] if output is not None else []
    return tuple(found), mistakes


def _told(name: str, output: Output) -> LocalOutput:
    return LocalOutput(name, output.type, None if output.is_secure else output.value, output.is_secure)


def _nested_mistakes(deployment: LocalDeployment, depth: int = 1) -> list[Mistake]:
    """What is wrong with the outputs of deployments nested in one; those that cannot be entered have none."""
    found: list[Mistake] = []
    seen: set[str] = set()
    for item in deployment.known() if depth < MAXIMUM_DEPTH else ():
        if item.type.lower() != NESTED or not item.is_wanted or item.path in seen or deployment.budget.is_spent:
            continue
        seen.add(item.path)  # instances of a loop are alike
        try:
            child = deployment.nested_deployment(item)
        except TemplateInvalid:
            continue  # which is told where it is needed
        found += _outputs(child)[1]
        found += _nested_mistakes(child, depth + 1)
    return found
