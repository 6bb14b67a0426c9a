"""Where a page is: the rail of all pages, and the trail from the subscription down to what is shown; pure."""

from dataclasses import dataclass, replace

from vmkiln.azure_names import LOCAL_GROUPS

PREFIX = "/portal"
RUNS = "runs"


@dataclass(frozen=True)
class Place:
    """A link of the rail or of the trail: its words, its address, and the name of its icon."""

    text: str
    address: str
    icon: str = ""


RAIL = {
    "templates": Place("Templates", f"{PREFIX}/", "template"),
    "runs": Place("Runs", f"{PREFIX}/runs", "run"),
    "queue": Place("Queue", f"{PREFIX}/queue", "queue"),
    "images": Place("Images", f"{PREFIX}/images", "image"),
    "hosts": Place("Hosts", f"{PREFIX}/hosts", "host"),
    "groups": Place("Groups", f"{PREFIX}/groups", "group"),
    "activity": Place("Activity", f"{PREFIX}/activity", "activity"),
    "access": Place("Access", f"{PREFIX}/access", "access"),
    "new": Place("New template", f"{PREFIX}/new", "new"),
}


def trail(resource_id: str, *, has_gallery: bool = True) -> list[Place]:
    """The places from the subscription to a resource; the last is the resource itself. Empty for what is no ARM id.

    Where a gallery has no page (`has_gallery`), it and what is in it have no address.
    """
    parts = resource_id.strip("/").split("/")
    if len(parts) < 4:
        return []
    if is_local(resource_id):
        first = "Groups"
    elif (parts[0].lower(), parts[2].lower()) == ("subscriptions", "resourcegroups"):
        first = f"Subscription {parts[1][:8]}"
    else:
        return []
    found = [Place(first, f"{PREFIX}/groups"), _place(parts, 4)]
    at = 4
    while at < len(parts):
        at += 2 if parts[at].lower() == "providers" else 0  # the provider's name goes with its first type
        if at + 2 > len(parts):
            break
        at += 2
        found.append(_place(parts, at))
    if has_gallery:
        return found
    return [replace(place, address="") if "/galleries/" in place.address.lower() else place for place in found]


def is_local(resource_id: str) -> bool:
    """Whether it is a staging resource group that a command made, or in one; pure."""
    return resource_id.lower().startswith(f"{LOCAL_GROUPS.lower()}/")


def _place(parts: list[str], end: int) -> Place:
    is_run = parts[end - 2].lower() == RUNS
    text = f"Run {parts[end - 1][:8]}" if is_run else parts[end - 1]
    return Place(text, f"{PREFIX}/" + "/".join(parts[:end]))


def section_of(resource_id: str) -> str:
    """The part of the rail that a resource belongs to; '' for none."""
    path = resource_id.lower()
    if "/imagetemplates/" in path:
        return "templates"
    if "/microsoft.compute/images/" in path or "/microsoft.compute/galleries/" in path:
        return "images"
    return "groups" if path else ""
