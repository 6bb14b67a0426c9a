"""Build hosts: what they have, what of it is promised, and taking one out.

Whoever may read the whole service (a role at `/`) sees them.
"""

from typing import Any

from vmkiln.api.identity.caller import Permission
from vmkiln.api.protocol.route import Answer, Call, Route
from vmkiln.api.virtual_machine_images.host_names import HOSTS
from vmkiln.errors import ArmError, InputError
from vmkiln.store.rows import HostRow, PlacedRun

TYPE = "Vmkiln.Builds/hosts"
ALL = HOSTS
ONE = f"{ALL}/{{hostName}}"


def _bodies(call: Call) -> list[dict[str, Any]]:
    hosts = call.service.store.hosts
    now = hosts.now()
    placed: dict[str, list[PlacedRun]] = {}
    for run in hosts.placed():
        placed.setdefault(run.incarnation, []).append(run)
    reserved: dict[str, list[int]] = {}
    for row in hosts.reservations():
        total = reserved.setdefault(row.incarnation, [0, 0, 0])
        for at, amount in enumerate((row.cpus, row.memory_mib, row.disk_mib)):
            total[at] += amount
    return [
        _body(host, now, [run.run_id for run in placed.get(host.incarnation, [])],
              reserved.get(host.incarnation, [0, 0, 0]))
        for host in hosts.all()
    ]  # fmt: skip


def _body(host: HostRow, now: float, runs: list[str], promised: list[int]) -> dict[str, Any]:
    return {
        "id": f"{ALL}/{host.name}",
        "name": host.name,
        "type": TYPE,
        "properties": {
            "state": str(host.state_at(now)),
            "architecture": host.architecture,
            "isolationLevel": host.isolation_level,
            "region": host.region,
            "capacity": {"cpus": host.cpus, "memoryMiB": host.memory_mib, "diskMiB": host.disk_mib},
            "promised": dict(zip(("cpus", "memoryMiB", "diskMiB"), promised, strict=True)),
            "leaseSeconds": round(host.lease_until - now, 1),
            "unready": host.unready,
            "unreadyReason": host.unready_reason,
            "isDraining": host.is_draining,
            "runs": runs,
        },
    }


def list_hosts(call: Call) -> Answer:
    """GET the hosts that are or were at work."""
    return Answer(200, {"value": _bodies(call)})


def _drained(call: Call, *, is_draining: bool) -> Answer:
    name = call.names["hostName"]
    try:
        call.service.store.hosts.drain(name, is_draining=is_draining)
    except InputError as error:
        raise ArmError(404, "ResourceNotFound", error.message) from error
    call.service.builder.wake()
    return Answer(200, next(body for body in _bodies(call) if body["name"] == name))


def drain(call: Call) -> Answer:
    """POST: the host gets no new runs; those it has go on."""
    return _drained(call, is_draining=True)


def undrain(call: Call) -> Answer:
    """POST: the host takes runs again."""
    return _drained(call, is_draining=False)


ROUTES = (
    Route("GET", ALL, "Hosts_List", Permission.READ, list_hosts),
    Route("POST", f"{ONE}/drain", "Hosts_Drain", Permission.ACTION, drain),
    Route("POST", f"{ONE}/undrain", "Hosts_Undrain", Permission.ACTION, undrain),
)
