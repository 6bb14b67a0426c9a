"""Tries what a deployment evaluates later, when resources are there and their state is known, before it is evaluated.

The trial's process asks for states as the deployment would, and what it was told the deployment is told as well.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from vmkiln.arm_template.deployment_plan import DeploymentPlan, NotReady, Runtime
from vmkiln.errors import TemplateInvalid
from vmkiln.trial.trials import Trials


@dataclass(frozen=True)
class Place:
    """Where in a request's deployment something is evaluated.

    `inside` are the positions of the nested deployments that lead there, among the resources of the one around each;
    `runtimes` tell the states in each, from the outermost on, and have one more.
    """

    root: DeploymentPlan
    inside: tuple[int, ...]
    runtimes: tuple[Runtime, ...]

    def within(self, index: int, runtime: Runtime) -> "Place":
        """In the nested deployment at a position."""
        return Place(self.root, (*self.inside, index), (*self.runtimes, runtime))


def tried(trials: Trials, place: Place, what: str, index: int = 0) -> Runtime:
    """Try `what` (`body` or `child` of the resource at a position, or `outputs`); gives what tells the same states.

    Raises: `TemplateInvalid` when the trial took too long or too much.
    """
    known: dict[str, Callable[[], Any]] = {}
    innermost = len(place.runtimes) - 1

    def answer(question: Mapping[str, Any]) -> Mapping[str, Any]:
        level, function, arguments = question["level"], question["function"], question["arguments"]
        told = known if level == innermost else {}
        key = _key(function, arguments)
        try:
            value = place.runtimes[level](function, arguments, question["path"])
        except (NotReady, TemplateInvalid) as error:
            told[key] = partial(_raise, error)
            return {"not_ready": error.key} if isinstance(error, NotReady) else {"mistake": error.message}
        told[key] = lambda: value
        return {"value": value}

    trials.check_later(
        place.root.document,
        {one.name: one.value for one in place.root.given.values()},
        place.root.place,
        {"what": what, "inside": place.inside, "index": index},
        answer,
    )
    tell = place.runtimes[innermost]

    def runtime(function: str, arguments: list[Any], path: str) -> Any:
        key = _key(function, arguments)
        return known[key]() if key in known else tell(function, arguments, path)

    return runtime


def position_of(item: object, items: Sequence[object]) -> int:
    """Where the very same is among others; pure."""
    return next(index for index, one in enumerate(items) if one is item)


def _raise(error: Exception) -> None:
    raise error


def _key(function: str, arguments: list[Any]) -> str:
    return json.dumps([function, arguments])
