"""What a build of a template would do, as a page tells the plan that the service gives of it; the page of one."""

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from vmkiln.portal.rendering import page
from vmkiln.portal.templates.template_face import checks_of, steps_of, targets_of
from vmkiln.portal.visit import Visit

PLAN = "providers/Vmkiln.Builds/plan"
NAMED = ("publisher", "offer", "sku", "version", "image_id", "image_version_id")  # what a source is named by


async def plan(visit: Visit) -> Response:
    """The page of what a run of a template would do; nothing is started."""
    template_id = visit.id.removesuffix("/plan")
    found = await visit.api.ask("GET", f"{template_id}/{PLAN}")
    title = f"Plan of {found['name']}"
    return await page("plan.html", title=title, id=template_id, leaf="Plan", plan=plan_shown(found))


def plan_shown(plan: Mapping[str, Any]) -> dict[str, Any]:
    """A plan in the parts of a page: facts, what keeps it from being built, steps, network, resources; pure."""
    properties = plan["template"].get("properties") or {}
    return {
        "facts": facts_of(plan),
        "problems": plan["cannot_be_built_because"],
        "warnings": plan["warnings"],
        "parts": {
            "Customizers": steps_of(properties),
            "Validations": checks_of(properties),
            "Distribution": targets_of(properties),
        },
        "begins": plan["begins"],
        "network": plan["network"],
        "resources": plan["staging_resource_group"]["resources"],
        "packer": plan["packer"],
    }


def facts_of(plan: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The source, the build VM and the limits in words; pure."""
    source, vm = plan["source"], plan["build_vm"]
    named = " ".join(str(source[name]) for name in NAMED if source.get(name))
    disk, minutes = vm["os_disk_gb"], plan["limits"]["longest_run_minutes"]
    facts = [
        ("Source", f"{source['type']} {named}".strip()),
        ("Its version", str(source.get("exact_version") or "")),
        ("Build VM", f"{vm['vmSize']}: {_counted(vm['cpus'], 'CPU')}, {vm['memory_mib']} MiB of memory"),
        ("OS disk", f"{disk} GB" if isinstance(disk, int) else "as large as the source's"),
        ("Longest run", _counted(minutes, "minute")),
        ("Staging resource group", str(plan["staging_resource_group"]["name"])),
    ]
    return [(name, text) for name, text in facts if text]


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
