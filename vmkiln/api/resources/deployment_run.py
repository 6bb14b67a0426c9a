"""Carries a deployment out: each resource is put when what it waits for is there, as its caller would put it.

Resources go through the same routes as a client's, so what the caller may not do, a template of theirs cannot.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from vmkiln.api.identity.caller import Caller
from vmkiln.api.protocol.route import Answer, Dispatch, Origin
from vmkiln.api.resources.later_evaluations import Place, position_of, tried
from vmkiln.arm_template.deployment_plan import DeploymentPlan, NotReady
from vmkiln.arm_template.deployment_template import NESTED
from vmkiln.arm_template.functions.resource_state import derived_members, ids_of
from vmkiln.arm_template.planned_resource import PlannedResource, left_out, meant_by, resource_info
from vmkiln.azure_names import IMAGE_TEMPLATE, NEWEST_API_VERSION, RESOURCE_GROUP, ProvisioningState
from vmkiln.errors import ArmError, Mistake, TemplateInvalid
from vmkiln.secrecy.secret_mask import SecretMask
from vmkiln.secrecy.secret_values import keys_in
from vmkiln.store.resource_table import Watch
from vmkiln.trial.trials import Trials

WAIT_SECONDS = 4 * 3600.0
LOOK_AGAIN_SECONDS = 15.0  # though nothing was told: another process may have changed it
GOING_ON = {"creating", "updating", "running", "accepted", "deleting", "inprogress"}


@dataclass(frozen=True)
class Done:
    """What came of one resource: an operation of the deployment."""

    id: str
    type: str
    state: str
    started: datetime
    ended: datetime
    status_code: int
    error: Mapping[str, Any] = field(default_factory=dict)
    operation: str = "Create"


@dataclass(frozen=True)
class Tools:
    """How a deployment reaches the service: as whom, by which requests; `record` keeps each operation as it ends.

    `watched` watches a resource, and whether the deployment is cancelled.
    """

    dispatch: Dispatch
    caller: Caller
    now: Callable[[], datetime]
    record: Callable[[Done], None]
    is_cancelled: Callable[[], bool]
    watched: Callable[[str], AbstractContextManager[Watch]]
    base_url: str = ""
    origin: Origin | None = None
    trials: Trials = field(default_factory=Trials)


class DeploymentFailed(ArmError):
    """A resource of the deployment could not be made; `details` say which and why."""

    def __init__(self, details: list[Mapping[str, Any]]) -> None:
        message = (
            "At least one resource deployment operation failed. Please list deployment operations for details. "
            "Please see https://aka.ms/arm-deployment-operations for usage details."
        )
        super().__init__(409, "DeploymentFailed", message, details=details)


class DeploymentCanceled(ArmError):
    """Somebody asked for the deployment to be cancelled."""

    def __init__(self) -> None:
        super().__init__(409, "DeploymentCanceled", "The deployment was canceled.")


class DeploymentRun:
    """One deployment being carried out; `around` is the run of the one that it is nested in, at `index` there."""

    def __init__(
        self, plan: DeploymentPlan, tools: Tools, *, around: "DeploymentRun | None" = None, index: int = 0
    ) -> None:
        self.plan = plan
        self.place: Place = (
            Place(plan, (), (self.runtime,)) if around is None else around.place.within(index, self.runtime)
        )
        self.tools = tools
        self._around = around if plan.around is not None else None  # whose resources it may ask for by their names
        self._resources = plan.planned()
        self._answers: dict[str, Mapping[str, Any]] = {}
        self._inner: dict[str, list[str]] = {}  # what nested deployments made, by their keys
        self._outputs: dict[str, Mapping[str, Any]] = {}  # of nested deployments, secure ones too
        self._children: dict[str, DeploymentRun] = {}  # those begun, by their keys
        self._pending = [item for item in self._resources if item.is_wanted and not item.is_existing]
        self._finished = {item.key for item in self._resources if not item.is_wanted or item.is_existing}
        self._waits = {item.key: set(item.waits_for) for item in self._pending}
        self._made: list[str] = []
        self._failures: list[Mapping[str, Any]] = []

    def carry_out(self) -> tuple[dict[str, Any], list[str]]:
        """Make everything; gives the outputs and the ids of what was made. Raises: `ArmError`, `TemplateInvalid`.

        After a `NotReady` it is called again when that is there, and goes on with what is not made yet.
        """
        while self._pending:
            moved = False
            for resource in list(self._pending):
                if self._waits[resource.key] - self._finished:
                    continue
                self._check_cancelled()
                try:
                    error = self._make(resource)
                except NotReady as not_ready:
                    if not_ready.outside:
                        raise
                    self._waits[resource.key].add(not_ready.key)
                    continue
                moved = True
                self._pending.remove(resource)
                if error:
                    self._failures.append(error)
                else:
                    self._finished.add(resource.key)
                    self._made += self._inner.get(resource.key, [resource.id])
            if not moved:
                break
        if self._failures:
            raise DeploymentFailed(self._failures)
        if self._pending:
            names = ", ".join(item.name for item in self._pending)
            message = f"Circular dependency detected: {names} wait for one another."
            raise ArmError(400, "InvalidTemplate", f"Deployment template validation failed: '{message}'")
        return self.outputs(), self._made

    def body(self, resource: PlannedResource) -> dict[str, Any]:
        """What is put for a resource, after a trial. Raises: `TemplateInvalid`, `NotReady`."""
        told = tried(self.tools.trials, self.place, "body", position_of(resource, self._resources))
        return self.plan.body(resource, told)

    def child(self, resource: PlannedResource) -> "DeploymentRun":
        """The run of a deployment nested in this one, after a trial. Raises: `TemplateInvalid`, `NotReady`."""
        index = position_of(resource, self._resources)
        plan = self.plan.child(resource, tried(self.tools.trials, self.place, "child", index))
        return DeploymentRun(plan, self.tools, around=self, index=index)

    def outputs(self, *, with_secrets: bool = False) -> dict[str, Any]:
        """The outputs, after a trial. Raises: `TemplateInvalid`."""
        self.plan.budget.renew()
        told = tried(self.tools.trials, self.place, "outputs")
        return self.plan.outputs(told, with_secrets=with_secrets)

    def _check_cancelled(self) -> None:
        if self.tools.is_cancelled():
            raise DeploymentCanceled

    def _make(self, resource: PlannedResource) -> Mapping[str, Any]:
        started = self.tools.now()
        self.plan.budget.renew()  # what was asked for was evaluated within one; this goes on for hours
        try:
            answer = self._nested(resource) if resource.type.lower() == NESTED else self._put(resource)
            error: Mapping[str, Any] = _error_of(answer)
            status = answer.status
        except DeploymentCanceled:
            raise
        except TemplateInvalid as problem:
            error, status = {"code": "InvalidTemplate", "message": problem.message}, 400
        except ArmError as problem:
            error, status = {"code": problem.code, "message": problem.message}, problem.status
            if problem.details:  # of a nested deployment: which of its resources, and why
                error = {**error, "details": list(problem.details)}
        state = ProvisioningState.FAILED if error else ProvisioningState.SUCCEEDED
        error = self.mask.value(error)
        self.tools.record(Done(resource.id, resource.type, state, started, self.tools.now(), status, error))
        return {**error, "target": resource.id} if error else {}

    def _request(
        self, method: str, path: str, version: str, body: Any = None, secrets: frozenset[str] = frozenset()
    ) -> Answer:
        return self.tools.dispatch(
            method,
            path,
            caller=self.tools.caller,
            query={"api-version": version},
            body=body,
            base_url=self.tools.base_url,
            origin=self.tools.origin,
            secrets=secrets,
        )

    @property
    def mask(self) -> SecretMask:
        """Takes the secrets of the deployment, as far as they are known by now, out of what is shown or kept of it."""
        return SecretMask.of(self.plan.secrets)

    def _put(self, resource: PlannedResource) -> Answer:
        body = self.body(resource)
        secrets = frozenset(self.plan.secrets)
        if secrets and isinstance(body.get("tags"), dict) and resource.type.lower() != IMAGE_TEMPLATE.lower():
            body = {**body, "tags": self.mask.value(body["tags"])}
        return self._settled(resource, self._request("PUT", resource.id, resource.api_version, body, secrets))

    def _nested(self, resource: PlannedResource) -> Answer:
        """A deployment of its own, put with its expressions worked out as far as its scope says."""
        run = self._children.get(resource.key) or self.child(resource)
        self._children[resource.key] = run
        try:
            outputs, made = run.carry_out()
        except NotReady as not_ready:  # it asks for one of ours: it goes on when that is there
            raise NotReady(not_ready.key, not_ready.outside - 1) from None
        properties = {
            "provisioningState": ProvisioningState.SUCCEEDED,
            "outputs": outputs,
            "outputResources": output_resources(made),
        }
        self._inner[resource.key] = made
        body = {"id": resource.id, "name": resource.name, "type": resource.type, "properties": properties}
        self._answers[resource.key] = body
        told = run.outputs(with_secrets=True)
        self._outputs[resource.key] = {name: output.get("value") for name, output in told.items()}
        return Answer(200, body)

    def _settled(self, resource: PlannedResource, answer: Answer) -> Answer:
        """The answer when the resource is provisioned, or why it is not."""
        deadline = time.monotonic() + WAIT_SECONDS
        with self.tools.watched(resource.id) as watch:
            while answer.status < 400 and _state(answer) in GOING_ON:
                self._check_cancelled()
                if (left := deadline - time.monotonic()) <= 0:
                    raise ArmError(409, "DeploymentTimeout", f"'{resource.id}' was not provisioned in time")
                answer = self._request("GET", resource.id, resource.api_version)
                if answer.status < 400 and _state(answer) in GOING_ON:
                    watch.wait(min(left, LOOK_AGAIN_SECONDS))
        if answer.status < 400:
            self._answers[resource.key] = answer.body if isinstance(answer.body, dict) else {}
        return answer

    def runtime(self, function: str, arguments: list[Any], path: str) -> Any:
        """The functions that ask for the state of resources. Raises: `TemplateInvalid`, `NotReady`."""
        if not arguments or not isinstance(arguments[0], str):
            raise TemplateInvalid([Mistake(path, f"{function}() takes the name or id of a resource")])
        if self._around is not None and not self._has(arguments[0]):
            try:
                return self._around.runtime(function, arguments, path)
            except NotReady as not_ready:
                raise NotReady(not_ready.key, not_ready.outside + 1) from None
        if function == "resourceinfo" and (item := self._found(arguments[0])) is not None:
            return resource_info(item)
        if function == "references":
            chosen = [item for item in self._resources if item.loop.lower() == arguments[0].lower()]
            is_full = any(str(item).lower() == "full" for item in arguments[1:])
            return [self._state_of(item, path, is_full=is_full) for item in chosen if item.is_wanted]
        if function == "reference":
            is_full = any(str(item).lower() == "full" for item in arguments[1:])
            found = self._found(arguments[0])
            if found is not None:
                return self._state_of(found, path, is_full=is_full)
            version = (
                str(arguments[1]) if len(arguments) > 1 and str(arguments[1])[:1].isdigit() else NEWEST_API_VERSION
            )
            return self._outside(arguments[0], version, path, is_full=is_full)
        if function.startswith("list"):
            return self._listed(function, arguments, path)
        raise TemplateInvalid([Mistake(path, f"{function}() is not known here")])

    def _found(self, text: str) -> PlannedResource | None:
        return meant_by(text, self._resources)

    def _has(self, text: str) -> bool:
        """Whether a name means a resource, or a loop, of this deployment itself."""
        return self._found(text) is not None or any(text.lower() == item.loop.lower() for item in self._resources)

    def _state_of(self, item: PlannedResource, path: str, *, is_full: bool) -> Any:
        if not item.is_wanted:  # one that is there all the same is read, as by Azure
            try:
                return self._outside(item.id, item.api_version, path, is_full=is_full)
            except TemplateInvalid:
                raise left_out(item, path) from None
        if item.is_existing:
            return self._outside(item.id, item.api_version, path, is_full=is_full)
        if item.key not in self._answers:
            raise NotReady(item.key)
        body = self._answers[item.key]
        properties = body.get("properties", {})
        if item.type.lower() != NESTED and isinstance(properties, dict):
            properties = {**derived_members(item.type, item.id), **properties}
        if not is_full:
            return properties
        return {**body, "properties": properties, "apiVersion": item.api_version, **ids_of(item.id)}

    def _outside(self, resource_id: str, version: str, path: str, *, is_full: bool) -> Any:
        answer = self._request("GET", resource_id, version) if resource_id.startswith("/") else None
        if answer is None or answer.status >= 400 or not isinstance(answer.body, dict):
            raise TemplateInvalid([Mistake(path, f"the resource `{resource_id}` is not there, or may not be read")])
        if not is_full:
            return answer.body.get("properties", {})
        return {**answer.body, "apiVersion": version, **ids_of(resource_id)}

    def _listed(self, function: str, arguments: list[Any], path: str) -> Any:
        found = self._found(arguments[0])
        if found is not None and found.is_wanted and not found.is_existing and found.key not in self._answers:
            raise NotReady(found.key)
        if found is not None and found.key in self._outputs and function == "listoutputswithsecurevalues":
            return self._outputs[found.key]
        resource_id = found.id if found else arguments[0]
        version = str(arguments[1]) if len(arguments) > 1 else "2024-11-01"
        answer = self._request("POST", f"{resource_id}/{function}", version)
        if answer.status >= 400:
            raise TemplateInvalid([Mistake(path, f"{function}(`{resource_id}`) is not there, or not allowed")])
        self.plan.keep_secret(keys_in(answer.body))
        return answer.body


def output_resources(made: Sequence[str]) -> list[dict[str, str]]:
    """What a deployment made, as clients see it; pure. Those of nested deployments stand for these."""
    return [{"id": item, "resourceType": _type_of(item)} for item in made]


def _type_of(resource_id: str) -> str:
    _, has_provider, rest = resource_id.rpartition("/providers/")
    provider, *others = rest.split("/")
    return "/".join([provider, *others[::2]]) if has_provider else RESOURCE_GROUP


def _state(answer: Answer) -> str:
    body = answer.body if isinstance(answer.body, dict) else {}
    properties = body.get("properties")
    return str(properties.get("provisioningState", "")).lower() if isinstance(properties, dict) else ""


def _error_of(answer: Answer) -> Mapping[str, Any]:
    body = answer.body if isinstance(answer.body, dict) else {}
    if answer.status >= 400:
        found: Mapping[str, Any] = body.get("error") or body or {"code": "Unknown", "message": "no reason was given"}
        return found
    if _state(answer) in {"failed", "canceled"}:
        problem = body["properties"].get("provisioningError") or {}
        return {
            "code": "ResourceDeploymentFailure",
            "message": "The resource operation completed with terminal provisioning state 'Failed'.",
            "details": [{"code": problem.get("provisioningErrorCode", "Other"), "message": problem.get("message", "")}],
        }
    return {}
