"""What a container group or VM of a build took of its host while it ran: a course of at most 120 points.

Who may read the resource may read this. It is of the last run alone, as long as its staging resource group is there.
"""

from functools import partial
from typing import Any

from vmkiln.api.identity.caller import Permission
from vmkiln.api.protocol.groups import GROUP_PATH
from vmkiln.api.protocol.route import Answer, Call, Route
from vmkiln.api.staging.staging_resources import find
from vmkiln.azure_names import CONTAINER_GROUP, VIRTUAL_MACHINE
from vmkiln.host.usage.machine_usage import FILE_NAME, Point, read_courses, stretches
from vmkiln.staging.logs.log_index import clock_text

KIB = 1024


def get_usage(type_name: str, call: Call) -> Answer:
    """GET what was taken between each two looks: {value: [{time, cpus, memoryBytes}], cpus, memoryMiB}.

    `cpus` of an item is how many processors were busy on average since the one before; `cpus` and `memoryMiB` of the
    answer are what the machine was given. Memory is what its process has of the host's, at most since the item before.
    """
    _, item = find(call, type_name)
    file = call.service.settings.staging / item.group_name / FILE_NAME
    machine = str(item.detail.get("machine") or item.name)
    points = read_courses(file, item.run_id).get(machine, [])
    given = {"cpus": item.detail.get("cpus") or 1, "memoryMiB": item.detail.get("memoryMiB") or 0}
    return Answer(200, {**_body(points), **given})


def _body(points: list[Point]) -> dict[str, Any]:
    """Pure."""
    value = [
        {"time": clock_text(one.time), "cpus": round(one.cpus, 3), "memoryBytes": one.most_kib * KIB}
        for one in stretches(points)
    ]
    return {"value": value}


ROUTES = tuple(
    Route(
        "GET",
        f"{GROUP_PATH}/{type_name}/{{name}}/providers/Vmkiln.Builds/usage",
        operation,
        Permission.READ,
        partial(get_usage, type_name),
    )
    for type_name, operation in (
        (CONTAINER_GROUP, "ContainerGroups_GetUsage"),
        (VIRTUAL_MACHINE, "VirtualMachines_GetUsage"),
    )
)
