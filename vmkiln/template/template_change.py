"""What may be changed in an image template that exists: tags, identity, distribute targets, the build VM's profile.

Pure. Source: docs/reference/behaviour.md#updates; docs/reference/rest-api.md#api-versions (since which api-version).
"""

from collections.abc import Iterator, Mapping
from typing import Any

from vmkiln.errors import Mistake, MistakeKind, TemplateInvalid

CHANGEABLE = {"distribute": "2023-07-01", "vmProfile": "2024-02-01"}
REFUSED_LOSS = (
    "Distribute target with Runoutput name {} not found in the update request. "
    "Deleting a distribution target is not allowed."
)


def changed_body(existing: Mapping[str, Any], change: Mapping[str, Any], *, api_version: str) -> dict[str, Any]:
    """The template's whole body with the change in it; it is still to be checked as a new one is.

    Raises: `TemplateInvalid` with every change that is not allowed.
    """
    mistakes = list(_mistakes(existing, change, api_version))
    if mistakes:
        raise TemplateInvalid(mistakes)
    body = dict(existing)
    if change.get("tags") is not None:
        body["tags"] = change["tags"]
    if change.get("identity") is not None:
        body["identity"] = changed_identity(existing.get("identity") or {}, change["identity"])
    properties = change.get("properties") or {}
    merged = {**existing["properties"]}
    if properties.get("distribute") is not None:
        merged["distribute"] = properties["distribute"]
    if properties.get("vmProfile") is not None:
        merged["vmProfile"] = _merged(merged.get("vmProfile") or {}, properties["vmProfile"])
    return {**body, "properties": merged}


def _mistakes(existing: Mapping[str, Any], change: Mapping[str, Any], api_version: str) -> Iterator[Mistake]:
    for name in change:
        if name not in {"tags", "identity", "properties"}:
            yield Mistake.unknown(name, "allowed are identity, properties, tags")
    identity, properties, tags = change.get("identity"), change.get("properties"), change.get("tags")
    if tags is not None and not isinstance(tags, dict):
        yield Mistake("tags", "must be an object")
    if identity is not None and not isinstance(identity, dict):
        yield Mistake("identity", "must be an object")
    if isinstance(identity, dict):
        assigned = identity.get("userAssignedIdentities")
        if assigned is not None and not isinstance(assigned, dict):
            yield Mistake("identity.userAssignedIdentities", "must be an object")
    if properties is None:
        return
    if not isinstance(properties, dict):
        yield Mistake("properties", "must be an object")
        return
    for name in properties:
        since = CHANGEABLE.get(name)
        if since is None or since > api_version:
            allowed = [known for known, first in CHANGEABLE.items() if first <= api_version]
            hint = f"an update may change {', '.join(allowed)}" if allowed else "only tags and identity may change"
            yield Mistake.unknown(f"properties.{name}", hint)
    if isinstance(properties.get("vmProfile", {}), dict) is False:
        yield Mistake("properties.vmProfile", "must be an object")
    if "distribute" in properties and "distribute" in CHANGEABLE:
        yield from _lost_targets(existing["properties"].get("distribute") or [], properties["distribute"])


def _lost_targets(existing: list[Mapping[str, Any]], targets: Any) -> Iterator[Mistake]:
    if not isinstance(targets, list):
        yield Mistake("properties.distribute", "must be an array")
        return
    names = {str(target.get("runOutputName")).lower() for target in targets if isinstance(target, dict)}
    for target in existing:
        name = str(target["runOutputName"])
        if name.lower() not in names:
            yield Mistake("properties.distribute", REFUSED_LOSS.format(name), kind=MistakeKind.LOST_TARGET)


def changed_identity(existing: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """The identity after a change: `None` takes all away, an id beside null takes that one away; ids ignore case."""
    kind = change.get("type") or existing.get("type") or "UserAssigned"
    if str(kind).lower() == "none":
        return {"type": "None"}
    kept = {key.lower(): (key, value) for key, value in (existing.get("userAssignedIdentities") or {}).items()}
    for key, value in (change.get("userAssignedIdentities") or {}).items():
        if value is None:
            kept.pop(key.lower(), None)
        else:
            kept[key.lower()] = (kept.get(key.lower(), (key, {}))[0], {})
    if not kept:
        return {"type": "None"}
    return {"type": "UserAssigned", "userAssignedIdentities": {key: {} for key, _ in kept.values()}}


def _merged(existing: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON merge patch (RFC 7396)."""
    merged = dict(existing)
    for name, value in change.items():
        if value is None:
            merged.pop(name, None)
        elif isinstance(value, dict) and isinstance(merged.get(name), dict):
            merged[name] = _merged(merged[name], value)
        else:
            merged[name] = value
    return merged
