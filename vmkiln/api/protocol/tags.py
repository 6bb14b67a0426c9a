"""Tags, locations and names, checked alike for every kind of resource. Source: Azure's limits for tags and names."""

import re
from collections.abc import Mapping
from typing import Any

from vmkiln.api.protocol.route import Call
from vmkiln.azure_locations import LOCAL, REGIONS
from vmkiln.azure_names import RESOURCE_GROUP, group_id, plain_location
from vmkiln.buildable.locations import LOCATION_HINT, is_everywhere, own_locations
from vmkiln.errors import ArmError, CodedMistake, Mistake

MOST_TAGS = 50
MOST_NAME_LETTERS = 512
MOST_VALUE_LETTERS = 256
MOST_TOLD = 40  # locations in a refusal


def tag_mistakes(tags: Any) -> list[Mistake]:
    """What is wrong with the `tags` of a body."""
    if tags is None:
        return []
    if not isinstance(tags, dict):
        return [Mistake("tags", "must be an object")]
    found = []
    if len(tags) > MOST_TAGS:
        found.append(Mistake("tags", f"has {len(tags)} tags; at most {MOST_TAGS} are allowed"))
    for name, value in tags.items():
        if not name.strip() or len(name) > MOST_NAME_LETTERS or re.search(r"[<>%&\\?/]", name):
            found.append(
                Mistake("tags", f"`{name[:60]}` is not a name of a tag: allowed are 1-512 letters, not <>%&\\?/")
            )
        if not isinstance(value, str) or len(value) > MOST_VALUE_LETTERS:
            found.append(Mistake(f"tags.{name[:60]}", f"must be a string of at most {MOST_VALUE_LETTERS} letters"))
    return found


def refuse(mistakes: list[Mistake], *, code: str = "InvalidRequestContent") -> None:
    """Raises: `ArmError` 400 with every mistake, when there is one; `code` is for those without one of their own."""
    if not mistakes:
        return
    codes = [(isinstance(mistake, CodedMistake) and mistake.code) or code for mistake in mistakes]
    details = [
        {"code": own, "message": str(mistake), "target": mistake.path}
        for own, mistake in zip(codes, mistakes, strict=True)
    ]
    text = "The request content was invalid: " + "; ".join(str(mistake) for mistake in mistakes)
    raise ArmError(400, codes[0], text, target=mistakes[0].path, details=details)


def location_mistakes(body: Mapping[str, Any]) -> list[Mistake]:
    """What is wrong with the `location` of a body."""
    location = body.get("location")
    if location is None:
        return [Mistake.missing("location")]
    if not isinstance(location, str) or not re.fullmatch(r"[A-Za-z0-9 _-]{1,60}", location):
        return [Mistake("location", "must be the name of a location, such as `local` or `westus2`")]
    return []


def check_location(call: Call, location: str, kind: str) -> None:
    """Refuse to make the resource of a call in a location that nobody has. Raises: `ArmError` 400."""
    group = group_id(call.names["subscriptionId"], call.names["resourceGroupName"])
    if problem := location_problem(call, location, kind, group=group):
        code = "LocationNotAvailableForResource" + ("Group" if kind == RESOURCE_GROUP else "Type")
        raise ArmError(400, code, problem, target="location", hint=LOCATION_HINT)


def location_problem(call: Call, location: str, kind: str, *, group: str) -> str:
    """Why nothing of this type is made in a location, in Azure's words; '' where it can be.

    What is in the resource group of this id may lie where it lies. Reads hosts and group only for a rare location.
    """
    wanted = plain_location(location)
    if is_everywhere(wanted):
        return ""
    own = locations_beside_azures(call, group)
    if wanted in own:
        return ""
    what = "resource group" if kind.lower() == RESOURCE_GROUP.lower() else f"resource type '{kind}'"
    known = [LOCAL, *sorted(own), *sorted(REGIONS)]
    told = ",".join(known[:MOST_TOLD]) + (",..." if len(known) > MOST_TOLD else "")
    return f"The provided location '{location[:60]}' is not available for {what}. List of available regions is '{told}'"


def locations_beside_azures(call: Call, group_id: str) -> set[str]:
    """The locations of this service beside Azure's: of its hosts, of the group, of the operator."""
    store = call.service.store
    group = store.resources.get(group_id)
    own = own_locations(call.service.settings, [host.region for host in store.hosts.live()])
    return own if group is None else own | {plain_location(group.location)}
