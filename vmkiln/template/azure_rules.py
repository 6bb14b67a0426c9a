"""Rules that Azure holds a template's identity, tags and targets against, whoever builds it.

Source: docs/reference/image-template.md#template (identity, required since 2020-02-14); "Use tags to organize your
Azure resources", limitations.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from vmkiln.arm_template.json_path import member_path
from vmkiln.errors import Mistake

IDENTITY_SINCE = "2020-02-14"
MOST_TAGS = 50
LONGEST_TAG_NAME = 512
LONGEST_TAG_VALUE = 256
NOT_IN_TAG_NAMES = "<>%&\\?/"


def identity_mistakes(identity: Any, *, is_preview: bool) -> Iterator[Mistake]:
    """An image template that says it has a user's identity names one."""
    if not isinstance(identity, dict):
        return
    kind, assigned = identity.get("type"), identity.get("userAssignedIdentities")
    if kind == "UserAssigned" and not assigned and not is_preview:
        hint = "name one, by its id, or say `None`"
        yield Mistake("identity.userAssignedIdentities", "is empty, and `type` says UserAssigned", hint)


def needs_identity(api_version: str) -> bool:
    """Whether a template of that api-version has to say what its identity is."""
    return api_version >= IDENTITY_SINCE and not api_version.endswith("-preview")


def tag_mistakes(body: Mapping[str, Any]) -> Iterator[Mistake]:
    """The limits of tags: of the template, of its artifacts and of what its builds make."""
    yield from _mistaken_tags(body.get("tags"), "tags")
    properties = body.get("properties")
    if not isinstance(properties, dict):
        return
    yield from _mistaken_tags(properties.get("managedResourceTags"), "properties.managedResourceTags")
    targets = properties.get("distribute")
    for index, target in enumerate(targets if isinstance(targets, list) else []):
        if isinstance(target, dict):
            yield from _mistaken_tags(target.get("artifactTags"), f"properties.distribute[{index}].artifactTags")


def _mistaken_tags(tags: Any, path: str) -> Iterator[Mistake]:
    if not isinstance(tags, dict):
        return
    if len(tags) > MOST_TAGS:
        yield Mistake(path, f"has {len(tags)} tags; at most {MOST_TAGS} are allowed")
    seen: dict[str, str] = {}
    for name, value in tags.items():
        shown = name if len(name) <= 60 else f"{name[:57]}..."
        if not name or len(name) > LONGEST_TAG_NAME:
            yield Mistake(path, f"the name `{shown}` has {len(name)} letters; allowed are 1 to {LONGEST_TAG_NAME}")
        if wrong := sorted(set(name) & set(NOT_IN_TAG_NAMES)):
            yield Mistake(path, f"the name `{shown}` holds `{''.join(wrong)}`", f"not allowed are {NOT_IN_TAG_NAMES}")
        if (first := seen.setdefault(name.lower(), name)) != name:
            yield Mistake(path, f"`{first}` and `{shown}` are one name, for case does not tell names apart")
        if isinstance(value, str) and len(value) > LONGEST_TAG_VALUE:
            message = f"has {len(value)} letters; at most {LONGEST_TAG_VALUE} are allowed"
            yield Mistake(member_path(path, shown), message)


def text_mistakes(body: Any, path: str = "") -> Iterator[Mistake]:
    """No text holds NUL, which no name, script or address has and no database keeps."""
    if isinstance(body, dict):
        for name, value in body.items():
            yield from text_mistakes(value, member_path(path, name))
    elif isinstance(body, list):
        for index, value in enumerate(body):
            yield from text_mistakes(value, member_path(path, index))
    elif isinstance(body, str) and "\0" in body:
        yield Mistake(path, "holds the character NUL (U+0000)", "leave it out")


def target_mistakes(properties: Mapping[str, Any]) -> Iterator[Mistake]:
    """An image that is built goes somewhere."""
    validate = properties.get("validate")
    only_source = isinstance(validate, dict) and validate.get("sourceValidationOnly") is True
    if properties.get("distribute") == [] and not only_source:
        hint = "name a ManagedImage, a SharedImage or a VHD"
        yield Mistake("properties.distribute", "is empty: nobody would get the image", hint)


def needless_versionings(properties: Any) -> Iterator[str]:
    """Targets that name an exact version and a scheme too: the exact one is published."""
    targets = properties.get("distribute") if isinstance(properties, dict) else None
    for index, target in enumerate(targets if isinstance(targets, list) else []):
        gallery = target.get("galleryImageId") if isinstance(target, dict) else None
        if isinstance(gallery, str) and "/versions/" in gallery.lower() and target.get("versioning"):
            where = f"properties.distribute[{index}].versioning"
            yield f"{where}: has no effect, because `galleryImageId` names an exact version"
