"""Running an image template, cancelling its run, and what the last run put out.

Source: docs/reference/rest-api.md#operations, #on-the-wire; docs/reference/image-template.md#run-outputs;
docs/reference/behaviour.md#interlocks.
"""

from dataclasses import replace

from vmkiln.api.identity.caller import Permission
from vmkiln.api.protocol import operations
from vmkiln.api.protocol.auditing import who_of
from vmkiln.api.protocol.route import Answer, Body, Call, Route
from vmkiln.api.virtual_machine_images.image_templates import ONE, find, last_run_of, not_allowed
from vmkiln.api.virtual_machine_images.ownership import check_run
from vmkiln.api.virtual_machine_images.run_outputs import run_output_body
from vmkiln.audit.act import name_of
from vmkiln.azure_names import ProvisioningState
from vmkiln.buildable.examination import NotBuildable, template_problems
from vmkiln.buildable.release_demands import release_mistakes
from vmkiln.buildable.targets import TAKEN, kept_problems
from vmkiln.errors import ArmError, CodedMistake, InputError, RunCanceled
from vmkiln.fleet.image_builder import RUN, queued_run
from vmkiln.provisioning import quotas
from vmkiln.provisioning.stored_template import template_of
from vmkiln.provisioning.submitting import Unfit, exact_version
from vmkiln.provisioning.user_networks import virtual_networks_for
from vmkiln.run_failures import QuotaExceeded
from vmkiln.run_state import RunState, new_run_id
from vmkiln.store.rows import ResourceRow, RunRow
from vmkiln.template.api_version import API_VERSIONS
from vmkiln.template.image_template import ImageTemplate
from vmkiln.template.source import ManagedImageSource, SharedImageVersionSource

TRIES = 5


def run(call: Call) -> Answer:
    """POST run: queued at once, done later."""
    _, answer = begun(call, find(call))
    return answer


def begun(call: Call, row: ResourceRow, *, retry_of: str = "") -> tuple[RunRow, Answer]:
    """A run of a template that waits from now on, and the answer that tells of it; `retry_of` is an earlier run's id.

    Raises: `ArmError` for what a run would refuse.
    """
    if row.properties.get("provisioningState") != ProvisioningState.SUCCEEDED:
        raise not_allowed(row, last_run_of(call, row), "run/action")
    try:
        template = template_of(call.service.store, row)
        told = check_run(call, row, template)
        _check_buildable(call, template)
        quotas.check_run(call.service.settings, call.service.store, row, template)
    except QuotaExceeded as error:
        raise ArmError(409, error.code, error.message, hint=error.hint) from None
    except NotBuildable as error:
        raise ArmError(409 if error.code == TAKEN else 400, error.code, error.message) from None
    except InputError as error:
        raise ArmError(400, NotBuildable.code, error.message, hint=error.hint) from None
    reason = "retry" if retry_of else "request"
    waiting = queued_run(
        row,
        run_id=new_run_id(),
        reason=reason,
        correlation_id=call.origin.correlation_id,
        retry_of=retry_of,
        begun_by=name_of(who_of(call.origin)),
    )
    waiting = replace(waiting, started=call.service.store.now())
    if not call.service.store.runs.queue(waiting):
        raise not_allowed(row, last_run_of(call, row), "run/action")
    operation = operations.begin(call, RUN, resource_id=row.id, location=row.location, run_id=waiting.run_id)
    call.service.builder.queued(waiting.run_id)
    headers = operations.result_headers(call, operation)
    earlier = {"retryOf": retry_of} if retry_of else {}
    return waiting, Answer(202, None, headers, {"runId": waiting.run_id, **earlier, **told})


def _check_buildable(call: Call, template: ImageTemplate) -> None:
    """Refuse what a run would refuse before its VM starts. Raises: `NotBuildable`."""
    settings, store = call.service.settings, call.service.store
    problems = [*template_problems(template, virtual_networks_for(store, template))]
    problems += release_mistakes(template, settings, template.os_type)
    source = template.properties.source
    if isinstance(source, ManagedImageSource | SharedImageVersionSource):
        try:  # a platform image may be in the cache of another host
            exact_version(settings, store, template)
        except Unfit as error:
            problems.append(CodedMistake("properties.source", error.message, error.hint, code=error.code))
    if problems := [*problems, *kept_problems(settings, store, template)]:
        raise NotBuildable(tuple(problems))


def cancel(call: Call) -> Answer:
    """POST cancel: 204 at once; the run ends Canceled a little later."""
    row = find(call)
    for _ in range(TRIES):  # the run may change its state between our look and our word
        going_on = last_run_of(call, row)
        if going_on is None or going_on.ended is not None or going_on.state == RunState.CANCELING:
            raise not_allowed(row, going_on, "cancel/action")
        store = call.service.store
        if going_on.state == RunState.QUEUED:
            message = "the run was cancelled while it waited"
            is_done = store.runs.move(
                going_on.run_id,
                expected=[RunState.QUEUED],
                state=RunState.CANCELED,
                message=message,
                code=RunCanceled.code,
            )
        else:
            is_done = store.runs.ask_to_cancel(going_on.run_id)
        if is_done:
            call.service.builder.cancel(going_on.run_id)
            return Answer(204, detail={"runId": going_on.run_id})
    raise ArmError(409, "Conflict", "the run changes its state all the time; try again")


def list_run_outputs(call: Call) -> Answer:
    """GET the outputs of the last run."""
    row = find(call)
    last = last_run_of(call, row)
    outputs = call.service.store.images.outputs_of(last.run_id) if last else []
    return Answer(200, {"value": [run_output_body(call, row.id, output) for output in outputs]})


def get_run_output(call: Call) -> Answer:
    """GET one output of the last run."""
    row = find(call)
    last = last_run_of(call, row)
    wanted = call.names["runOutputName"]
    for output in call.service.store.images.outputs_of(last.run_id) if last else []:
        if output.name.lower() == wanted.lower():
            return Answer(200, run_output_body(call, row.id, output))
    raise ArmError(404, "ResourceNotFound", f"The run output '{wanted}' of '{row.name}' was not found.")


ROUTES = (
    Route(
        "POST",
        f"{ONE}/run",
        "VirtualMachineImageTemplates_Run",
        Permission.ACTION,
        run,
        Body.OPTIONAL_JSON,
        API_VERSIONS,
    ),
    Route(
        "POST",
        f"{ONE}/cancel",
        "VirtualMachineImageTemplates_Cancel",
        Permission.ACTION,
        cancel,
        Body.OPTIONAL_JSON,
        API_VERSIONS,
    ),
    Route(
        "GET",
        f"{ONE}/runOutputs",
        "VirtualMachineImageTemplates_ListRunOutputs",
        Permission.READ,
        list_run_outputs,
        api_versions=API_VERSIONS,
    ),
    Route(
        "GET",
        f"{ONE}/runOutputs/{{runOutputName}}",
        "VirtualMachineImageTemplates_GetRunOutput",
        Permission.READ,
        get_run_output,
        api_versions=API_VERSIONS,
    ),
)
