"""Made-up values for what other people's templates leave open: parameters without a default, and placeholders.

A value is chosen by its name, and, when the template refuses that, by the place where it came to stand: each made-up
text is told apart by its name, so the mistake says whose it is.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from vmkiln.arm_template.budget import Budget
from vmkiln.arm_template.lenient_json import read_json
from vmkiln.arm_template.parameters.declared_type import resolved
from vmkiln.arm_template.values import member
from vmkiln.errors import Mistake, TemplateInvalid
from vmkiln.template.placeholder import placeholders_in
from vmkiln.template.template_file import ResolvedTemplate, read_image_template

GROUP = "/subscriptions/11111111-2222-3333-4444-555555555555/resourceGroups/made-up"
COMPUTE = f"{GROUP}/providers/Microsoft.Compute"
DEFINITION = f"{COMPUTE}/galleries/made.up/images/made-up"
IDENTITY = f"{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/made-up"
SUBNET = f"{GROUP}/providers/Microsoft.Network/virtualNetworks/made-up/subnets/made-up"
DEBIAN = {"type": "PlatformImage", "publisher": "Debian", "offer": "debian-12", "sku": "12", "version": "latest"}
MOST_ROUNDS = 12
# by the name of a parameter, the first that fits
BY_NAME: tuple[tuple[str, str], ...] = (
    (r"api.?version", "2022-07-01"),
    (r"(staging).*(group|rg|id)", f"{GROUP}-staging"),
    (r"res(ource)?groupid$", f"{COMPUTE}/images/"),
    (r"(name|rg|group|definition|gallery)$", ""),
    (r"sha256|checksum", "0123456789abcdef" * 4),
    (r"subnet", SUBNET),
    (r"identit(y|ies).*(id|resource)|^identityid|imgbuilderid|userassigned.*id$", IDENTITY),
    (r"(source|src).*(imageversion|sigdef)|imgversionid|imageversionid", f"{DEFINITION}/versions/1.0.0"),
    (r"gallery.*imageid|galleryimage|imagedefinition.*id|definitionid", DEFINITION),
    (r"imageid", f"{COMPUTE}/images/made-up"),
    (r"subscription", "11111111-2222-3333-4444-555555555555"),
    (r"location|region", "westus2"),
    (r"vmsize|proxy.*size", "Standard_D2s_v3"),
    (r"publisher", "Debian"),
    (r"offer", "debian-12"),
    (r"sku", "12"),
    (r"sourceuri|scripturi|ur[il]$|url|scriptpath", "https://example.com/made-up.sh"),
    (r"version", "1.0.0"),
    (r"size|disk|timeout", "64"),
)
REGIONS = ("westus2", "eastus", "westeurope", "northeurope", "uksouth", "centralus", "japaneast", "francecentral")
OLDER = "2019-05-01-preview"  # in which a template needs no identity, and may start from an ISO
WINDOWS = {"publisher": "MicrosoftWindowsServer", "offer": "WindowsServer", "sku": "2022-datacenter"}
# by the last member of the place where a value was refused
BY_PLACE: tuple[tuple[str, str], ...] = (
    ("userAssignedIdentities", IDENTITY),
    ("imageVersionId", f"{DEFINITION}/versions/1.0.0"),
    ("galleryImageId", DEFINITION),
    ("imageId", f"{COMPUTE}/images/made-up"),
    ("subnetId", SUBNET),
    ("containerInstanceSubnetId", f"{SUBNET}2"),
    ("stagingResourceGroup", f"{GROUP}-staging"),
    ("sha256Checksum", "0123456789abcdef" * 4),
    ("scriptUri", "https://example.com/made-up.sh"),
    ("sourceUri", "https://example.com/made-up.bin"),
    ("sourceURI", "https://example.com/made-up.iso"),
    ("uri", "https://example.com/made-up.vhd"),
    ("destination", "/tmp/made-up"),
    ("osDiskSizeGB", "64"),
    ("buildTimeoutInMinutes", "60"),
    ("vmSize", "Standard_D2s_v3"),
    ("apiVersion", "2022-07-01"),
    ("type", "PlatformImage"),
)
OBJECTS: tuple[tuple[str, Any], ...] = (
    (r"source", DEBIAN),
    (r"distributions", [{"type": "VHD", "imageName": "made-up"}]),
    (r"distribut", [{"type": "VHD", "runOutputName": "made-up"}]),
    (r"custom", [{"type": "Shell", "name": "made-up", "inline": ["true"]}]),
    (r"identit", {"userAssignedResourceIds": [IDENTITY]}),
    (r"region", ["westus2"]),
    (r"vm|profile", {}),
)


def made_up(name: str, kind: str, declaration: Mapping[str, Any]) -> Any:
    """A value for a parameter of that name and type."""
    allowed = declaration.get("allowedValues")
    if isinstance(allowed, list) and allowed:
        return allowed[0]
    if kind == "int":
        return declaration.get("minValue", 64)
    if kind == "bool":
        return False
    if kind in ("array", "object"):
        wanted: type = list if kind == "array" else dict
        fitting = (value for word, value in OBJECTS if re.search(word, name.lower()) and isinstance(value, wanted))
        return next(fitting, wanted())
    found = next((value for word, value in BY_NAME if re.search(word, name.lower())), None)
    text = found or f"madeup{re.sub(r'[^A-Za-z0-9]', '', name)}"
    longest = declaration.get("maxLength")
    return text[:longest] if isinstance(longest, int) else text


def filled(text: str, name: str) -> tuple[ResolvedTemplate, bool]:
    """The template that a text holds, and whether values had to be made up. Raises TemplateInvalid."""
    try:
        return read_image_template(text, file_name=name), False
    except TemplateInvalid as error:
        first = error
    document = read_json(text, file_name=name, bare_placeholders=True)
    values = _first_values(document, text)
    for _ in range(MOST_ROUNDS):
        try:
            return read_image_template(text, file_name=name, parameters=_told(values)), True
        except TemplateInvalid as error:
            if not _changed(values, error):
                raise (error if values else first) from None
    raise first


def _first_values(document: Any, text: str) -> dict[str, Any]:
    """For each required parameter and each placeholder."""
    values: dict[str, Any] = {}
    regions = iter(REGIONS * 4)
    declared = member(document, "parameters") if isinstance(document, dict) else None
    if isinstance(document, dict) and member(document, "resources") is None:
        declared = {found: {"type": "string"} for found in re.findall(r"parameters\(\s*'([^'\"]+)'\s*\)", text)}
    for name, declaration in (declared if isinstance(declared, dict) else {}).items():
        schema = resolved(declaration, document, Budget()) if isinstance(declaration, dict) else {}
        if "defaultValue" not in schema and schema.get("nullable") is not True and "type" in schema:
            values[name] = made_up(name, str(schema["type"]).lower().removeprefix("secure"), schema)
    for _, name in placeholders_in(text):
        values.setdefault(name, made_up(name, "string", {}))
    return {name: next(regions) if value == REGIONS[0] else value for name, value in values.items()}


def _told(values: Mapping[str, Any]) -> list[str]:
    return [f"{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in values.items()]


def _changed(values: dict[str, Any], error: TemplateInvalid) -> bool:
    """Whether other values are worth a try, after the mistakes of these."""
    is_changed = False
    for mistake in error.mistakes:
        path = mistake.path.removeprefix("parameters.")
        if "was given, but the template" in mistake.message and path in values:
            del values[path]
            is_changed = True
            continue
        if "still holds the placeholder" in mistake.message:
            for _, name in placeholders_in(f"{mistake.message} {mistake.path}"):
                if name not in values:
                    values[name] = made_up(name, "string", {})
                    is_changed = True
        last = next((word for word, _ in BY_PLACE if re.search(rf"(^|\.){word}(\[|$)", mistake.path)), None)
        is_changed |= _other_kind(values, mistake)
        guilty = [name for name, value in values.items() if isinstance(value, str) and f"`{value}`" in mistake.message]
        guilty = guilty or [
            name for name, value in values.items() if isinstance(value, str) and f"['{value}']" in mistake.path
        ]
        is_about_it = "ARM id" not in mistake.message or "is not an ARM id" in mistake.message
        for name in guilty if last and is_about_it else ():
            better = dict(BY_PLACE)[str(last)]
            if values[name] != better:
                values[name] = better
                is_changed = True
    return is_changed


def _other_kind(values: dict[str, Any], mistake: Mistake) -> bool:
    """Values of another api-version, another operating system, or another type."""
    is_older = (mistake.path == "identity" and "is required" in mistake.message) or "preview api-versions" in (
        mistake.message
    )
    is_windows = "is not supported on Linux images" in mistake.message
    better: dict[str, Any] = {}
    for name, value in values.items():
        words = name.lower()
        if (is_older or "and so is `inline`" in mistake.message) and re.search("api.?version", words):
            better[name] = OLDER
        if is_windows:
            kind = next((kind for kind in WINDOWS if kind in words), "")
            better |= {name: WINDOWS[kind]} if kind else {}
            if isinstance(value, dict) and value.get("publisher") == DEBIAN["publisher"]:
                better[name] = {**value, **WINDOWS}
        if "must be" in mistake.message and "not a string" in mistake.message and isinstance(value, str):
            last = mistake.path.rpartition(".")[2]
            if last.lower() in words or words in last.lower():
                wanted = {"an object": {IDENTITY: {}}, "a whole number": 60, "an array": ["westus2"]}
                kind = next((kind for kind in wanted if f"must be {kind}" in mistake.message), "")
                better |= {name: wanted[kind]} if kind else {}
        if mistake.path == "properties.distribute" and "distribut" in words and value in ("[]", []):
            better[name] = [{"type": "VHD", "runOutputName": "made-up"}]
    different = {name: item for name, item in better.items() if values[name] != item}
    values |= different
    return bool(different)
