"""Which hosts there are is for whoever may read them: others are told of their runs without a name of one."""

from collections.abc import Mapping
from typing import Any

from vmkiln.api.identity.caller import Permission
from vmkiln.api.protocol.revision import time_text
from vmkiln.api.protocol.route import Call
from vmkiln.fleet.admission import QueuePosition
from vmkiln.fleet.placement.forecast import told_start

HOSTS = "/providers/Vmkiln.Builds/hosts"
NAMING = ("placement", "host_faults")  # facts of a run that have names of hosts


def may_read_hosts(call: Call) -> bool:
    """Whether the caller may list the hosts."""
    return call.may(Permission.READ, HOSTS)


def queue_body(call: Call, position: QueuePosition) -> dict[str, Any]:
    """Where a waiting run stands, why it waits, as the caller may know it, and when it usually starts.

    The start is when runs of others end, which the caller may not be able to read: it is rounded up to five minutes.
    """
    start = call.service.builder.forecast().starts.get(position.run_id)
    return {
        "position": position.position,
        "reason": position.reason if may_read_hosts(call) else position.told,
        "expectedStart": None if start is None else time_text(told_start(start)),
    }


def shown_facts(call: Call, facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of a run that the caller may know."""
    is_naming = may_read_hosts(call)
    return {name: value for name, value in facts.items() if is_naming or name not in NAMING}
