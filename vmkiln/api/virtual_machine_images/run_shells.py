"""To enter the failed VM of a run that is held: a permission of its own, recorded with who asked for which run.

Without a body it is leave alone, which `vmkiln run shell` asks for on the host that holds the VM; who owns that host's
state directory can do without. With a visitor's public key the host is asked to let them in through this service: it
dials out to it, as the visitor does, and both are brought together (`api/builds/shell_streams.py`).
"""

import functools
from datetime import UTC, datetime
from typing import Any

from vmkiln.api.identity.caller import Permission
from vmkiln.api.protocol.route import Answer, Body, Call, Route
from vmkiln.api.shells.meetings import WAITING_SECONDS
from vmkiln.api.virtual_machine_images.host_names import may_read_hosts
from vmkiln.api.virtual_machine_images.past_runs import RUN, run_of
from vmkiln.errors import ArmError
from vmkiln.harmless_text import harmless
from vmkiln.host.host_id import host_id
from vmkiln.shells import order
from vmkiln.shells.order import Meeting, Order
from vmkiln.shells.sealed_key import checked
from vmkiln.store.rows import RunRow

PUBLIC_KEY = "publicKey"


def enter(call: Call) -> Answer:
    """POST: whether the caller may enter the failed VM of a run, which is an act on record: {host, heldUntil, shell}.

    `host` is the name of the host that holds it, for whoever may read the hosts. With `publicKey` in the body that host
    is asked to come, and `shell` says where it is met: {path, token, seconds}. Raises: `ArmError` 409 when none is
    held, or its host cannot come; 429 when too many are waited for.
    """
    _, run = run_of(call)
    if not run.held_until:
        hint = "`errorHandling.onCustomizerError: abort` has what fails held for a time"
        raise ArmError(409, "RunNotHeld", f"No failed VM of the run '{run.run_id}' is held.", hint=hint)
    body: dict[str, Any] = {"host": _host_of(call, run) if may_read_hosts(call) else "", "heldUntil": run.held_until}
    detail = {"runId": run.run_id}
    if call.body and PUBLIC_KEY in call.body:
        body["shell"] = _asked(call, run, _public_key(call))
        detail["shellId"] = body["shell"]["path"].rpartition("/")[2]
    return Answer(200, body, detail=detail)


def _asked(call: Call, run: RunRow, public_key: str) -> dict[str, Any]:
    """Ask the holding host to come, and wait for both here."""
    shells, store = call.service.shells, call.service.store
    holder = _holder_of(run)
    meeting = _meeting_of(call, holder)
    asked = shells.ask(
        run.run_id,
        caller=call.caller.object_id,
        seconds=(datetime.fromisoformat(run.held_until) - datetime.now(UTC)).total_seconds(),
        may_still=functools.partial(_may_enter, call),
        name=harmless(call.caller.name),
    )
    shell_id = asked.shell.shell_id
    try:
        wanted = Order(shell_id, run.run_id, meeting, asked.hosts_token, public_key)
        store.shells.ask(shell_id, holder, order.sealed(wanted, store.seal), seconds=WAITING_SECONDS)
    except BaseException:
        shells.withdraw(asked.shell)
        raise
    return {"path": order.path_of(shell_id), "token": asked.visitors_token, "seconds": int(WAITING_SECONDS)}


def _may_enter(call: Call) -> bool:
    """Whether who asked may enter at this moment."""
    return call.service.access.rights(call.caller).may(Permission.SHELL, call.resource_id)


def _public_key(call: Call) -> str:
    given = call.body[PUBLIC_KEY]
    try:
        checked(given if isinstance(given, str) else "")
    except ValueError as error:
        raise ArmError(400, "InvalidRequestContent", f"'{PUBLIC_KEY}': {error}.", target=PUBLIC_KEY) from error
    return str(given)


def _meeting_of(call: Call, holder: str) -> Meeting:
    """Where the holding host meets its visitor. Raises: `ArmError` 409 when it is not at work, or finds no way here."""
    if holder not in {row.host_id for row in call.service.store.hosts.live()}:
        hint = "start `vmkiln worker`, or `vmkiln serve`, on it"
        raise ArmError(409, "HostNotAtWork", "The host that holds the failed VM is not at work.", hint=hint)
    shells = call.service.shells
    if shells.near is None:
        raise ArmError(409, "NoShells", "This service listens nowhere, so nobody can meet a host here.")
    if holder == host_id(call.service.settings):
        return shells.near
    if shells.far is None:
        hint = "its operator sets VMKILN_SERVICE_URL to where hosts reach it"
        raise ArmError(409, "ServiceNotReached", "The service is reached by its own machine only.", hint=hint)
    return shells.far


def _holder_of(run: RunRow) -> str:
    kept = run.facts.get("lease")
    return str(kept["host_id"] if kept else run.facts.get("host_id", ""))


def _host_of(call: Call, run: RunRow) -> str:
    holder = _holder_of(run)
    return next((row.name for row in call.service.store.hosts.all() if row.host_id == holder), "")


# on record before anybody is let in: who has leave goes on without us
ROUTES = (
    Route("POST", f"{RUN}/shell", "Runs_Shell", Permission.SHELL, enter, Body.OPTIONAL_JSON, is_recorded_first=True),
)
