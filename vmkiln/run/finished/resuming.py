"""Going on with a run of `vmkiln build` whose command was killed: asked for by its user, from its customized disk."""

from dataclasses import replace

from vmkiln.errors import InputError
from vmkiln.host.host_id import host_id
from vmkiln.run.finished.finished_work import is_resumable, made_of, recorded
from vmkiln.run.run_context import RunRequest
from vmkiln.settings import Settings
from vmkiln.store.database import Store, utc_now

ANEW = "`vmkiln build` without `--resume` begins a new run"


def resumed(settings: Settings, store: Store, request: RunRequest, run_id: str) -> RunRequest:
    """The request as the next attempt of the run whose id is, or begins with, `run_id`.

    Raises: `InputError` when there is nothing to go on from, or it follows from another template.
    """
    run = store.runs.find(run_id)
    work = recorded(run)
    if run.template_id:
        raise InputError(f"the run {run_id} is the service's", hint="a service goes on with its runs by itself")
    if work is None or not is_resumable(run, now=utc_now()):
        raise InputError(f"the run {run_id} ended {run.state}, and no customized disk of it is kept", hint=ANEW)
    if work.disk["host_id"] != host_id(settings):
        raise InputError(f"the customized disk of the run {run_id} is on another host", hint=ANEW)
    names = (run.template_name, run.resource_group)
    if names != (request.template_name, request.resource_group) or work.made_of != made_of(request):
        raise InputError(
            f"the run {run_id} was begun with another template: its source, customizers, VM or names differ",
            hint=f"give the same file and parameters as then; {ANEW}",
        )
    return replace(request, run_id=run.run_id, attempt=run.attempt + 1, resumes=True)
