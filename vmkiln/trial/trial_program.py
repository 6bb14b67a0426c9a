"""The program that tries templates: it evaluates all that a deployment needs evaluated, and says that it came through.

What it finds is of no interest, for the service evaluates again; that it ends is. Each request on standard input is its
length in four bytes and JSON; the answer is one byte. A request that has `later` is about one thing that is evaluated
when resources are there: then `q` comes before the answer, with the length and JSON of a question about their state,
and its answer is read as a request is. It has little memory, and whoever asks kills it when it takes too long.
"""

import json
import resource
import sys
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, BinaryIO
from uuid import UUID

from vmkiln.arm_template.deployment_context import DeploymentContext
from vmkiln.arm_template.deployment_plan import DeploymentPlan, NotReady, Runtime
from vmkiln.arm_template.deployment_template import NESTED
from vmkiln.arm_template.parameters.deployment_parameters import GivenParameter
from vmkiln.arm_template.planned_resource import runtime_before
from vmkiln.errors import Mistake, TemplateInvalid

MOST_MEMORY_BYTES = 256 * 1024**2
LENGTH_BYTES = 4
CAME_THROUGH, NO_MEMORY, QUESTION = b"t", b"m", b"q"
Ask = Callable[[Mapping[str, Any]], Mapping[str, Any]]


def main() -> None:
    """Answer until standard input ends."""
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY_BYTES, MOST_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    serve(sys.stdin.buffer, sys.stdout.buffer)


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer request after request; the last is the one that there was no memory for."""

    def ask(question: Mapping[str, Any]) -> Mapping[str, Any]:
        text = json.dumps(question).encode()
        answers.write(QUESTION + len(text).to_bytes(LENGTH_BYTES) + text)
        answers.flush()
        told: Mapping[str, Any] = json.loads(requests.read(int.from_bytes(requests.read(LENGTH_BYTES))))
        return told

    while length := requests.read(LENGTH_BYTES):
        try:
            request = json.loads(requests.read(int.from_bytes(length)))
            if "later" in request:
                evaluate_later(request, ask)
            else:
                evaluate_all(request)
            answer = CAME_THROUGH
        except MemoryError:
            answer = NO_MEMORY
        answers.write(answer)
        answers.flush()
        if answer == NO_MEMORY:
            return


def evaluate_all(request: Mapping[str, Any]) -> None:
    """Evaluate a deployment as far as it can be without asking for any resource's state."""
    try:
        _all_of(_plan_of(request))
    except (TemplateInvalid, RecursionError):
        return  # the service finds the same, and tells it


def evaluate_later(request: Mapping[str, Any], ask: Ask) -> None:
    """Evaluate one body, nested deployment or all outputs, within a budget as the service has it for each."""
    later = request["later"]
    try:
        plan = _plan_of(request)
        for level, index in enumerate(later["inside"]):
            plan.budget.renew()
            plan = plan.child(plan.planned()[index], _asking(ask, level))
        items, told = plan.planned(), _asking(ask, len(later["inside"]))
        plan.budget.renew()
        match later["what"]:
            case "body":
                plan.body(items[later["index"]], told)
            case "child":
                plan.child(items[later["index"]], told).planned()
            case _:
                plan.outputs(told, with_secrets=True)
    except (NotReady, TemplateInvalid, RecursionError, IndexError):
        return


def _plan_of(request: Mapping[str, Any]) -> DeploymentPlan:
    given = {name.lower(): GivenParameter(name, value, is_text=False) for name, value in request["parameters"].items()}
    context = dict(request["context"])
    context |= {"now": datetime.fromisoformat(context["now"]), "new_guid": UUID(context["new_guid"])}
    return DeploymentPlan(request["template"], given, DeploymentContext(**context))


def _asking(ask: Ask, level: int) -> Runtime:
    def runtime(function: str, arguments: list[Any], path: str) -> Any:
        told = ask({"level": level, "function": function, "arguments": arguments, "path": path})
        if "not_ready" in told:
            raise NotReady(told["not_ready"])
        if "mistake" in told:
            raise TemplateInvalid([Mistake(path, told["mistake"])])
        return told["value"]

    return runtime


def _all_of(plan: DeploymentPlan) -> None:
    items = plan.planned()
    runtime = runtime_before(plan)  # goes on beside what waits, as the service does
    for item in items:
        try:
            if item.type.lower() == NESTED:
                _all_of(plan.child(item, runtime))
            else:
                plan.body(item, runtime)
        except TemplateInvalid:
            continue
    plan.output_mistakes(runtime)
    plan.parameter_values()


if __name__ == "__main__":
    main()
