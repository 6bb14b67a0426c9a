"""What an image template does, as its page tells it: steps, checks, targets, limits; and its copy for another; pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vmkiln.errors import ArmError

LONGEST = 120  # letters of what a step does
WITH_VERSIONS = {"PlatformImage", "SharedImageVersion"}  # sources
OF_THE_SERVICE = {"provisioningState", "provisioningError", "lastRunStatus", "exactStagingResourceGroup"}


@dataclass(frozen=True)
class Part:
    """One step, check or target: what it is called, of which type it is, and what it does."""

    name: str
    type: str
    what: str


def steps_of(properties: Mapping[str, Any]) -> list[Part]:
    """The customizers, in order."""
    return [_step(step) for step in properties.get("customize") or ()]


def checks_of(properties: Mapping[str, Any]) -> list[Part]:
    """The validations, in order."""
    return [_step(step) for step in (properties.get("validate") or {}).get("inVMValidations") or ()]


def targets_of(properties: Mapping[str, Any]) -> list[Part]:
    """Where the image goes."""
    return [
        Part(str(target.get("runOutputName", "")), str(target.get("type", "")), _target(target))
        for target in properties.get("distribute") or ()
    ]


def limits_of(template: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Facts of a template in words: the build VM, the time a run may take, tags; what is not set is left out."""
    properties = template["properties"]
    vm = properties.get("vmProfile") or {}
    minutes = properties.get("buildTimeoutInMinutes") or 0
    identities = (template.get("identity") or {}).get("userAssignedIdentities") or {}
    named = [
        ("Build VM", vm.get("vmSize") or ""),
        ("OS disk", f"{vm['osDiskSizeGB']} GB" if vm.get("osDiskSizeGB") else ""),
        ("Subnet", _end((vm.get("vnetConfig") or {}).get("subnetId") or "")),
        ("Longest run", f"{minutes} minute{'' if minutes == 1 else 's'}" if minutes else ""),
        ("Identities", ", ".join(map(_end, identities))),
        ("Tags", ", ".join(f"{name}={value}" for name, value in (template.get("tags") or {}).items())),
    ]
    return [(name, str(text)) for name, text in named if text]


def no_trigger(properties: Mapping[str, Any]) -> str:
    """Why a template is not run by itself when its source has a new version; '' where it can be."""
    source = properties.get("source") or {}
    version_id = str(source.get("imageVersionId") or "").lower()
    if str(source.get("version", "")).lower() == "latest" or version_id.endswith("/versions/latest"):
        return ""
    if source.get("type") in WITH_VERSIONS:
        return "A trigger needs a source with the version `latest`."
    return f"No trigger goes with a source of the type {source.get('type', '')}: it has no versions."


def tags_text(template: Mapping[str, Any]) -> str:
    """The tags of a template as lines that can be changed."""
    return "\n".join(f"{name}={value}" for name, value in (template.get("tags") or {}).items())


def tags_in(text: str) -> dict[str, str]:
    """The tags that such lines mean. Raises: `ArmError` for a line that is none, or a name that is there twice."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        name, mark, value = (part.strip() for part in line.partition("="))
        if not line.strip():
            continue
        if not mark or not name:
            raise ArmError(400, "InvalidParameter", f"`{line[:90]}` is no tag: write name=value", target="tags")
        if name.lower() in {other.lower() for other in found}:
            raise ArmError(400, "InvalidParameter", f"the tag `{name[:90]}` is there twice", target="tags")
        found[name] = value
    return found


def copied(template: Mapping[str, Any]) -> dict[str, Any]:
    """A template as one may make another: without what only the service sets."""
    found = {name: template[name] for name in ("location", "tags") if template.get(name)}
    identity = dict(template.get("identity") or {"type": "None"})
    if assigned := identity.get("userAssignedIdentities"):
        identity = {"type": identity["type"], "userAssignedIdentities": {name: {} for name in assigned}}
    else:
        identity = {"type": identity.get("type", "None")}
    properties = {name: value for name, value in template["properties"].items() if name not in OF_THE_SERVICE}
    return {**found, "identity": identity, "properties": properties}


def _step(step: Mapping[str, Any]) -> Part:
    return Part(str(step.get("name") or ""), str(step.get("type", "")), shortened(_does(step)))


def _does(step: Mapping[str, Any]) -> str:
    inline = step.get("inline")
    if isinstance(inline, Sequence) and not isinstance(inline, str) and inline:
        more = len(inline) - 1
        return str(inline[0]) + (f" (and {more} more line{'' if more == 1 else 's'})" if more else "")
    if step.get("sourceUri"):
        return f"{_address(step['sourceUri'])} to {step.get('destination', '')}"
    if step.get("scriptUri"):
        return _address(step["scriptUri"])
    return str(step.get("restartCommand") or step.get("searchCriteria") or "")


def _address(address: object) -> str:
    """Without what may be a key to it."""
    return str(address).partition("?")[0]


def _target(target: Mapping[str, Any]) -> str:
    regions = [str(one.get("name", "")) for one in target.get("targetRegions") or ()]
    regions = regions or [str(one) for one in target.get("replicationRegions") or ()]
    where = str(target.get("galleryImageId") or target.get("imageId") or target.get("uri") or "")
    return _address(where) + (f" ({', '.join(regions)})" if regions else "")


def _end(resource_id: str) -> str:
    return str(resource_id).rpartition("/")[2]


def shortened(text: str, *, most: int = LONGEST) -> str:
    """A text of at most so many letters, which says where it was cut; pure."""
    return text if len(text) <= most else f"{text[: most - 1]}\N{HORIZONTAL ELLIPSIS}"
