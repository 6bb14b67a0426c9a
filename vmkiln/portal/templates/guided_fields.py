"""The fields of the guided form of a new template: its rows, the template that they mean, the field of a mistake; pure.

A row is a customizer (`step`), a validation (`check`) or a target; its fields are `step.0.kind`, `step.0.name` and so
on. Without scripts a button of the form adds, moves and takes away rows.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from vmkiln.azure_names import IMAGE_DEFINITION, MANAGED_IMAGE, group_id
from vmkiln.errors import ArmError, Mistake
from vmkiln.portal.templates.template_face import tags_in
from vmkiln.portal.templates.written_template import GROUP_NAME, GUID, detail_of, source_named

MOST_STEPS, MOST_CHECKS, MOST_TARGETS = 10, 5, 4  # the text takes more; a form has 100 fields at most
PLAIN = ("subscription", "group", "name", "location", "source", "vm_size", "disk_gb", "minutes", "tags")
PARTS = ("kind", "name", "text", "to")  # of a row
ABOVE = ("name", "group", "subscription", "location", "source")  # the fields before the rows, in the page's order
BELOW = ("vm_size", "disk_gb", "minutes", "tags")
CALLED = {
    "name": "Name",
    "group": "Resource group",
    "subscription": "Subscription",
    "location": "Location",
    "source": "Source",
    "vm_size": "Size of the build VM",
    "disk_gb": "OS disk in GB",
    "minutes": "Longest run in minutes",
    "tags": "Tags",
}
CALLED_IN_ROW = {
    ("SharedImage", "text"): "regions",
    ("ManagedImage", "text"): "location",
    ("ManagedImage", "to"): "the image",
    ("SharedImage", "to"): "gallery and image definition",
    ("VHD", "to"): "address of a blob",
    ("File", "to"): "where to",
    **{(kind, "text"): "commands" for kind in ("Shell", "PowerShell")},
}
COMMANDS = {"Shell": "Shell commands", "PowerShell": "PowerShell commands"}
SCRIPTS = {"ShellScript": "Shell script at an address", "PowerShellScript": "PowerShell script at an address"}
STEPS = {**COMMANDS, **SCRIPTS, "File": "File", "WindowsRestart": "Windows restart", "WindowsUpdate": "Windows updates"}
CHECKS = {**COMMANDS, **SCRIPTS}
TARGETS = {"ManagedImage": "Managed image", "SharedImage": "Version in a gallery", "VHD": "VHD"}
NEEDED = {
    **dict.fromkeys(COMMANDS, "write at least one command"),
    **dict.fromkeys(SCRIPTS, "write the script's address"),
    "File": "write the file's address",
}
OUTPUTS = {"ManagedImage": "image", "SharedImage": "version", "VHD": "disk"}  # what a new row's output is called
OPENED = {"location": "westus2", "source": "", "vm_size": "", "disk_gb": "", "minutes": "", "tags": ""}
NOBODY = "00000000-0000-0000-0000-000000000000"  # stands in where no subscription was written, which is told
ROW = re.compile(r"(step|check|target)\.([0-9]{1,2})\.(\w+)")
WHERE = (  # which row, and which field of it, a place in the template is
    (re.compile(r"properties\.customize\[(\d+)\](?:\.(\w+))?.*"), "step"),
    (re.compile(r"properties\.validate\.inVMValidations\[(\d+)\](?:\.(\w+))?.*"), "check"),
    (re.compile(r"properties\.distribute\[(\d+)\](?:\.(\w+))?.*"), "target"),
)
FIELD_OF = {
    "name": "name",
    "runOutputName": "name",
    "destination": "to",
    "targetRegions": "text",
    "location": "text",
}
PLAIN_WHERE = {
    "location": "location",
    "tags": "tags",
    "properties.source": "source",
    "properties.vmProfile.vmSize": "vm_size",
    "properties.vmProfile.osDiskSizeGB": "disk_gb",
    "properties.buildTimeoutInMinutes": "minutes",
}


@dataclass(frozen=True)
class Group:
    """The rows of one kind: what they and one are called, which kinds one may be of, and how many there may be."""

    word: str
    title: str
    one: str
    kinds: Mapping[str, str]
    most: int


GROUPS = (
    Group("step", "Customizers", "Customizer", STEPS, MOST_STEPS),
    Group("check", "Validations", "Validation", CHECKS, MOST_CHECKS),
    Group("target", "Distribution", "Target", TARGETS, MOST_TARGETS),
)


@dataclass(frozen=True)
class Row:
    """One row as it was written."""

    kind: str
    name: str = ""
    text: str = ""
    to: str = ""


@dataclass(frozen=True)
class Written:
    """The whole form: its plain fields, and its rows by their word."""

    values: Mapping[str, str]
    rows: Mapping[str, tuple[Row, ...]]


def begun(values: Mapping[str, str]) -> Written:
    """The form as it is opened: one customizer, and a managed image."""
    rows = {"step": (Row("Shell"),), "check": (), "target": (Row("ManagedImage", OUTPUTS["ManagedImage"]),)}
    return Written({**dict.fromkeys(PLAIN, ""), **OPENED, **values}, rows)


def written_in(sent: Mapping[str, str]) -> Written:
    """The form as it was sent; a row of no known kind, and one too many, is left out."""
    found: dict[str, dict[int, dict[str, str]]] = {group.word: {} for group in GROUPS}
    for name, value in sent.items():
        if (named := ROW.fullmatch(name)) and named[3] in PARTS:
            found[named[1]].setdefault(int(named[2]), {})[named[3]] = value
    rows = {
        group.word: tuple(
            Row(**{"kind": "", **parts})
            for _, parts in sorted(found[group.word].items())
            if parts.get("kind") in group.kinds
        )[: group.most]
        for group in GROUPS
    }
    return Written({name: sent.get(name, "") for name in PLAIN}, rows)


def acted_on(written: Written, action: str) -> tuple[Written, str]:
    """The form after one of its buttons (`add.step.Shell`, `drop.step.0`, `up.step.1`), and where to go on in it.

    Raises: `ArmError` for no button of the form.
    """
    verb, _, rest = action.partition(".")
    word, _, which = rest.partition(".")
    group = next((one for one in GROUPS if one.word == word), None)
    if group is None:
        raise ArmError(400, "InvalidParameter", "the action is none of this form", target="action")
    rows = list(written.rows[word])
    at = int(which) if re.fullmatch(r"[0-9]{1,2}", which) else -1
    if verb == "add" and which in group.kinds and len(rows) < group.most:
        rows.append(Row(which, _free_name(rows, which) if word == "target" else ""))
        focus = f"{word}.{len(rows) - 1}.name"
    elif verb == "drop" and 0 <= at < len(rows):
        del rows[at]
        focus = f"add-{word}"
    elif verb == "up" and 0 < at < len(rows):
        rows[at - 1], rows[at] = rows[at], rows[at - 1]
        focus = f"{word}.{at - 1}.name"
    else:
        raise ArmError(400, "InvalidParameter", "the action is none of this form", target="action")
    return replace(written, rows={**written.rows, word: tuple(rows)}), focus


def _free_name(rows: Sequence[Row], kind: str) -> str:
    taken = {row.name for row in rows}
    names = [OUTPUTS[kind], *(f"{OUTPUTS[kind]}{number}" for number in range(2, MOST_TARGETS + 2))]
    return next(name for name in names if name not in taken)


def body_of(written: Written) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """The template that the form means, and what in it cannot be put into one."""
    values, details = written.values, list[dict[str, str]]()
    source = source_named(values["source"])
    if source is None:
        message = "choose what the image starts from" if not values["source"] else "is no source of this list"
        details.append(detail_of("source", Mistake("", message)))
    properties: dict[str, Any] = {
        "source": source or {},
        "customize": [_step(row) for row in written.rows["step"]],
        "distribute": [_target(row, values) for row in written.rows["target"]],
    }
    if checks := [_step(row) for row in written.rows["check"]]:
        properties["validate"] = {"inVMValidations": checks}
    profile = {"vmSize": values["vm_size"].strip(), "osDiskSizeGB": _whole(values, "disk_gb", details)}
    if profile := {name: value for name, value in profile.items() if value}:
        properties["vmProfile"] = profile
    if minutes := _whole(values, "minutes", details):
        properties["buildTimeoutInMinutes"] = minutes
    tags: dict[str, str] = {}
    try:
        tags = tags_in(values["tags"])
    except ArmError as error:
        details.append(detail_of("tags", Mistake("", error.message)))
    if not written.rows["target"]:
        details.append(detail_of("add-target", Mistake("", "the image has to go somewhere: add a target")))
    for word in ("step", "check"):
        for at, row in enumerate(written.rows[word]):
            details += [detail_of(f"{word}.{at}.{name}", Mistake("", text)) for name, text in _missing(row)]
    for at, row in enumerate(written.rows["target"]):
        if row.kind == "SharedImage" and "/" not in row.to:
            message = "name the gallery and its image definition: GALLERY/DEFINITION"
            details.append(detail_of(f"target.{at}.to", Mistake("", message)))
    found: dict[str, Any] = {"location": values["location"].strip(), **({"tags": tags} if tags else {})}
    return {**found, "identity": {"type": "None"}, "properties": properties}, details


def _missing(row: Row) -> Iterator[tuple[str, str]]:
    """The fields of a step that have to be written and are not, each with what is said of it."""
    if row.kind in NEEDED and not row.text.strip():
        yield "text", NEEDED[row.kind]
    if row.kind == "File" and not row.to.strip():
        yield "to", "write where the file goes in the VM"


def _whole(values: Mapping[str, str], name: str, details: list[dict[str, str]]) -> int:
    text = values[name].strip()
    if not text:
        return 0
    if not re.fullmatch(r"[0-9]{1,6}", text):
        details.append(detail_of(name, Mistake("", "must be a whole number")))
        return 0
    return int(text)


def _step(row: Row) -> dict[str, Any]:
    found: dict[str, Any] = {"type": row.kind.removesuffix("Script")}
    if name := row.name.strip():
        found["name"] = name
    match row.kind:
        case "Shell" | "PowerShell":
            found["inline"] = row.text.rstrip().splitlines()
        case "ShellScript" | "PowerShellScript":
            found["scriptUri"] = row.text.strip()
        case "File":
            found |= {"sourceUri": row.text.strip(), "destination": row.to.strip()}
    return found


def _target(row: Row, values: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {"type": row.kind, "runOutputName": row.name.strip()}
    to = row.to.strip()
    subscription = values["subscription"] if GUID.fullmatch(values["subscription"]) else NOBODY
    group = values["group"] if GROUP_NAME.fullmatch(values["group"]) else "group"  # what is wrong there is told there
    providers = f"{group_id(subscription, group)}/providers"
    match row.kind:
        case "ManagedImage":
            name = to or values["name"].strip() or "name"
            named = to if to.startswith("/") else f"{providers}/{MANAGED_IMAGE}/{name}"
            return {**found, "imageId": named, "location": row.text.strip() or values["location"].strip()}
        case "SharedImage":
            gallery, _, definition = to.partition("/")
            kind, _, below = IMAGE_DEFINITION.rpartition("/")
            named = to if to.startswith("/") else f"{providers}/{kind}/{gallery.strip()}/{below}/{definition.strip()}"
            regions = [name.strip() for name in (row.text or values["location"]).split(",") if name.strip()]
            return {**found, "galleryImageId": named, "targetRegions": [{"name": name} for name in regions]}
    return {**found, "uri": to} if to else found


def field_of(place: str, written: Written) -> str:
    """The field that a place in the template was written into; '' for one that this form has none of."""
    for shape, word in WHERE:
        if (found := shape.fullmatch(place)) and int(found[1]) < len(written.rows[word]):
            member = FIELD_OF.get(found[2] or "", "to" if word == "target" else "text")
            return f"{word}.{found[1]}.{member}"
    if place.startswith("properties.source"):
        return "source"
    if place.startswith("properties.distribute"):
        return "add-target"
    if place.startswith("tags"):
        return "tags"
    is_own = place in PLAIN or place == "add-target" or ROW.fullmatch(place) is not None
    return PLAIN_WHERE.get(place, place if is_own else "")


def fields_of(written: Written) -> dict[str, str]:
    """Every field that may have a mistake, in the order in which they stand in the page, with what it is called."""
    found = {name: CALLED[name] for name in ABOVE}
    for group in GROUPS:
        parts = ("name", "to", "text") if group.word == "target" else ("name", "text", "to")
        for at, row in enumerate(written.rows[group.word]):
            what = f"{group.one} {at + 1}"
            for part in parts:
                other = "name" if part == "name" else "address"
                found[f"{group.word}.{at}.{part}"] = f"{what}, {CALLED_IN_ROW.get((row.kind, part), other)}"
        found[f"add-{group.word}"] = group.title
    return found | {name: CALLED[name] for name in BELOW}
