"""What the form of a new template offers as its source: images that were built here, and the catalogue's; pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vmkiln.azure_names import Architecture

BUILT = "Built here"
OWN = {"imported": "Imported", "made here": "Made here"}  # before what a publisher serves
KINDS = {"ManagedImage", "SharedImageVersion"}  # of images that a template can start from
ORDINARY = {"Linux", str(Architecture.X64)}


@dataclass(frozen=True)
class Choice:
    """One source: what the form sends for it, and what is read."""

    value: str
    text: str


def choices(platform: Sequence[Mapping[str, Any]], images: Sequence[Mapping[str, Any]]) -> dict[str, list[Choice]]:
    """The choices by the heading that they stand below; what is on this machine first."""
    found: dict[str, list[Choice]] = {BUILT: [], **{heading: [] for heading in OWN.values()}}
    for image in images:
        if image["properties"]["kind"] in KINDS:
            found[BUILT].append(Choice(str(image["id"]), _told_image(image)))
    for entry in platform:
        properties = entry["properties"]
        heading = OWN.get(properties["how"]) or f"{properties['publisher']}, fetched{_trial(properties)}"
        found.setdefault(heading, []).append(Choice(str(entry["name"]), _told(entry)))
    return {heading: below for heading, below in found.items() if below}


def _trial(properties: Mapping[str, Any]) -> str:
    return "" if properties["isTried"] else " (not tried by us)"


def _told(entry: Mapping[str, Any]) -> str:
    """Its name, and what is out of the ordinary."""
    properties = entry["properties"]
    odd = [word for word in (properties["osType"], properties["architecture"]) if word not in ORDINARY]
    return ", ".join([str(entry["name"]), *odd])


def _told_image(image: Mapping[str, Any]) -> str:
    """A version with its definition, of which any has a `1.0.0`; the day on which it was made."""
    parts = str(image["id"]).split("/")
    name = f"{parts[-3]} {parts[-1]}" if image["properties"]["kind"] == "SharedImageVersion" else parts[-1]
    return f"{name}, {str(image['properties']['created'])[:10]}"
