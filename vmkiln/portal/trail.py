"""Where a page is: the rail of all pages, and the trail from the subscription down to what is shown; pure."""

from dataclasses import dataclass

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


def trail(resource_id: str) -> list[Place]:
    """The places from the subscription to a resource; the last is the resource itself. Empty for what is no ARM id."""
    parts = resource_id.strip("/").split("/")
    if len(parts) < 4 or parts[0].lower() != "subscriptions" or parts[2].lower() != "resourcegroups":
        return []
    found = [Place(f"Subscription {parts[1][:8]}", f"{PREFIX}/groups"), _place(parts, 4)]
    at = 4
    while at < len(parts):
        at += 2 if parts[at].lower() == "providers" else 0  # the provider's name goes with its first type
        if at + 2 > len(parts):
            break
        at += 2
        found.append(_place(parts, at))
    return found


def _place(parts: list[str], end: int) -> Place:
    is_run = parts[end - 2].lower() == RUNS
    text = f"Run {parts[end - 1][:8]}" if is_run else parts[end - 1]
    return Place(text, f"{PREFIX}/" + "/".join(parts[:end]))


def section_of(resource_id: str) -> str:
    """The part of the rail that a resource belongs to; '' for none."""
    path = resource_id.lower()
    if "/imagetemplates/" in path:
        return "templates"
    if "/microsoft.compute/" in path:
        return "images"
    return "groups" if path else ""
