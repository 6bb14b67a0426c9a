"""The program that tries templates: it evaluates all that a deployment needs evaluated, and says that it came through.

What it finds is of no interest, for the service evaluates again; that it ends is. Each request on standard input is its
length in four bytes and JSON; the answer is one byte. It has little memory, and whoever asks kills it when it takes
too long.
"""

import json
import resource
import sys
from collections.abc import Mapping
from typing import Any, BinaryIO

from vmkiln.arm_template.deployment_context import DeploymentContext
from vmkiln.arm_template.deployment_parameters import GivenParameter
from vmkiln.arm_template.deployment_plan import DeploymentPlan, NotReady
from vmkiln.arm_template.deployment_template import NESTED
from vmkiln.errors import TemplateInvalid

MOST_MEMORY_BYTES = 256 * 1024**2
LENGTH_BYTES = 4
CAME_THROUGH, NO_MEMORY = b"t", b"m"


def main() -> None:
    """Answer until standard input ends."""
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY_BYTES, MOST_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    serve(sys.stdin.buffer, sys.stdout.buffer)


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer request after request; the last is the one that there was no memory for."""
    while length := requests.read(LENGTH_BYTES):
        try:
            evaluate_all(json.loads(requests.read(int.from_bytes(length))))
            answer = CAME_THROUGH
        except MemoryError:
            answer = NO_MEMORY
        answers.write(answer)
        answers.flush()
        if answer == NO_MEMORY:
            return


def evaluate_all(request: Mapping[str, Any]) -> None:
    """Evaluate a deployment as far as it can be without asking for any resource's state."""
    given = {name.lower(): GivenParameter(name, value, is_text=False) for name, value in request["parameters"].items()}
    try:
        _all_of(DeploymentPlan(request["template"], given, DeploymentContext(**request["context"])))
    except (TemplateInvalid, RecursionError):
        return  # the service finds the same, and tells it


def _unknown(_function: str, _arguments: list[Any], _path: str) -> Any:
    raise NotReady("another resource")


def _all_of(plan: DeploymentPlan) -> None:
    for item in plan.planned():
        try:
            if item.type.lower() == NESTED:
                _all_of(plan.child(item, _unknown))
            else:
                plan.body(item, _unknown)
        except (NotReady, TemplateInvalid):
            continue
    plan.parameter_values()
    try:
        plan.outputs(_unknown)
    except (NotReady, TemplateInvalid):
        return


if __name__ == "__main__":
    main()
