"""Leave to enter the failed VM of a run that is held: a permission of its own, recorded with who asked for which run.

The shell itself is opened on the host that holds the VM, by `vmkiln run shell`, which asks here first when somebody is
logged in to a service. Who owns that host's state directory can do without: this is for those who share it.
"""

from vmkiln.api.identity.caller import Permission
from vmkiln.api.protocol.route import Answer, Call, Route
from vmkiln.api.virtual_machine_images.host_names import may_read_hosts
from vmkiln.api.virtual_machine_images.past_runs import RUN, run_of
from vmkiln.errors import ArmError
from vmkiln.store.rows import RunRow


def enter(call: Call) -> Answer:
    """POST: whether the caller may enter the failed VM of a run, which is an act on record: {host, heldUntil}.

    `host` is the name of the host that holds it, for whoever may read the hosts. Raises: `ArmError` 409 when none is
    held.
    """
    _, run = run_of(call)
    if not run.held_until:
        hint = "`errorHandling.onCustomizerError: abort` has what fails held for a time"
        raise ArmError(409, "RunNotHeld", f"No failed VM of the run '{run.run_id}' is held.", hint=hint)
    body = {"host": _host_of(call, run) if may_read_hosts(call) else "", "heldUntil": run.held_until}
    return Answer(200, body, detail={"runId": run.run_id})


def _host_of(call: Call, run: RunRow) -> str:
    kept = run.facts.get("lease")
    host_id = kept["host_id"] if kept else run.facts.get("host_id", "")
    return next((row.name for row in call.service.store.hosts.all() if row.host_id == host_id), "")


# on record before anybody is let in: who has leave goes on without us, and nothing in the database changes with it
ROUTES = (Route("POST", f"{RUN}/shell", "Runs_Shell", Permission.SHELL, enter, is_recorded_first=True),)
