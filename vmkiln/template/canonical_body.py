"""What the user wrote, brought to one form: canonical member names, nothing that means "no value", rules tried.

Here and only here null, '' and 0 become "absent", so that the models' defaults apply. Names follow the api-version:
exact since 2024-02-01, in any case and with unknown members ignored before (docs/reference/rest-api.md#api-versions).
Words of a closed list are taken in any case by all of them, as Azure's services do (docs/decisions/0137-*.md).
"""

import difflib
import re
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import EnumType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from vmkiln.arm_template.json_path import member_path
from vmkiln.azure_names import NEWEST_API_VERSION
from vmkiln.errors import Mistake
from vmkiln.template.api_version import is_preview, is_strict
from vmkiln.template.part import Part


@dataclass
class Findings:
    """What was noticed on the way through a body."""

    mistakes: list[Mistake] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def canonical_body(
    body: Any, model: type[Part], *, api_version: str, findings: Findings, path: str = "", is_kept: bool = False
) -> Any:
    """`body` in canonical form, as far as it has the shape of `model`; adds to `findings`, raises nothing.

    In one that `is_kept`, nothing is said of members that came after its api-version.
    """
    members_of = NEWEST_API_VERSION if is_kept else api_version
    return _Walk(members_of, is_strict(api_version), is_preview(api_version), findings).part(body, model, path)


@dataclass(frozen=True)
class _Walk:
    api_version: str  # whose members there are
    strict: bool
    preview: bool
    findings: Findings

    def part(self, body: Any, model: type[Part], path: str) -> Any:
        if not isinstance(body, dict):
            return body
        named = self._named(body, model, path)
        clean = {}
        for alias, (annotation, required) in _members(model).items():
            value = named.get(alias)
            if value is None or (value == "" and not required):
                continue
            if value == 0 and not isinstance(value, bool) and alias in model.zero_means_default:
                continue
            clean[alias] = self.value(value, annotation, member_path(path, alias))
        self.findings.mistakes.extend(model.mistakes_in(clean, path))
        return clean

    def value(self, value: Any, annotation: Any, path: str) -> Any:
        origin, choices = get_origin(annotation), get_args(annotation)
        if origin is Annotated:
            return self.value(value, choices[0], path)
        if origin in (Union, types.UnionType):
            return self._one_of([choice for choice in choices if choice is not types.NoneType], value, path)
        if origin is Literal or isinstance(annotation, EnumType):
            allowed = choices if origin is Literal else [str(member) for member in annotation]
            return self._spelled(value, allowed)
        if origin is tuple and isinstance(value, list):
            return [self.value(item, choices[0], member_path(path, index)) for index, item in enumerate(value)]
        if origin is dict and isinstance(value, dict):
            entries = ((key, self._entry(item, choices[1], member_path(path, key))) for key, item in value.items())
            return {key: item for key, item in entries if item is not None}
        if isinstance(annotation, type) and issubclass(annotation, Part):
            return self.part(value, annotation, path)
        if annotation is int and isinstance(value, float) and value.is_integer():
            return int(value)  # JSON knows one kind of number: 120.0 is 120
        if annotation in (int, bool) and isinstance(value, str) and not self.strict:
            return self._unquoted(value, annotation, path)
        return value

    def _unquoted(self, value: str, annotation: type, path: str) -> Any:
        """The number, true or false that stands in quotes, as older templates have it."""
        words: dict[str, bool] = {"true": True, "false": False} if annotation is bool else {}
        plain: int | None = words.get(value.lower())
        if annotation is int and re.fullmatch(r"-?[0-9]{1,18}", value):
            plain = int(value)
        if plain is None:
            return value
        self.findings.warnings.append(f'{path}: "{value}" should be written without quotes')
        return plain

    def _entry(self, value: Any, annotation: Any, path: str) -> Any:
        is_part = isinstance(annotation, type) and issubclass(annotation, Part)
        return self.value({} if value is None and is_part else value, annotation, path)

    def _one_of(self, choices: list[Any], value: Any, path: str) -> Any:
        """The choice that the body's own `type` (or `scheme`) names; unknown ones are left for the models to refuse."""
        if len(choices) == 1:
            return self.value(value, choices[0], path)
        if not isinstance(value, dict):
            return value
        by_name = {name: model for model in choices for name in _discriminating_names(model)}
        key = "scheme" if any("scheme" in _members(model) for model in choices) else "type"
        written = self._spelled({self._folded(name): item for name, item in value.items()}.get(key), by_name)
        model = by_name.get(written) if isinstance(written, str) else None
        return self.part(value, model, path) if model else value

    def _named(self, body: Mapping[str, Any], model: type[Part], path: str) -> dict[str, Any]:
        known = {self._folded(name): name for name in _members(model)}
        if not self.preview:
            known = {folded: name for folded, name in known.items() if name not in model.preview_only}
        else:
            known |= {self._folded(older): name for older, name in model.preview_names.items()}
        ignored = {self._folded(name) for name in model.read_only}
        found: dict[str, Any] = {}
        for written, value in body.items():
            name = known.get(self._folded(written))
            if name is None:
                if self._folded(written) not in ignored:
                    there = {one for one in known.values() if self.api_version >= model.since.get(one, "")}
                    self._unknown(written, sorted(there), path)
            elif name in found:
                self.findings.mistakes.append(Mistake(member_path(path, written), f"`{name}` is given twice"))
            else:
                self._look_at_age(name, value, model, member_path(path, written))
                found[name] = value
        return found

    def _look_at_age(self, name: str, value: Any, model: type[Part], where: str) -> None:
        """Warn of a member that came after the template's api-version: here it is done, in Azure it is not."""
        since = model.since.get(name, "")
        if value is None or self.api_version >= since:
            return
        does = "refuses" if self.strict else "ignores"
        self.findings.warnings.append(
            f"{where}: is done here, but Azure {does} it in api-version {self.api_version}: it came with {since}"
        )

    def _unknown(self, written: str, known: list[str], path: str) -> None:
        where = member_path(path, written)
        folded = {name.lower(): name for name in known}
        near = folded.get(written.lower()) or next(iter(difflib.get_close_matches(written, known, 1, 0.75)), None)
        if self.strict:
            hint = f"did you mean `{near}`?" if near else f"allowed are {', '.join(known) or 'none'}"
            self.findings.mistakes.append(Mistake.unknown(where, hint))
        else:
            suffix = f"; did you mean `{near}`?" if near else ""
            self.findings.warnings.append(f"{where}: ignored, because no such member is known{suffix}")

    @staticmethod
    def _spelled(value: Any, allowed: Iterable[str]) -> Any:
        if not isinstance(value, str):
            return value
        return next((name for name in allowed if name.lower() == value.lower()), value)

    def _folded(self, name: str) -> str:
        return name if self.strict else name.lower()


def _members(model: type[Part]) -> dict[str, tuple[Any, bool]]:
    return {
        info.alias or name: (info.annotation, info.is_required())
        for name, info in model.model_fields.items()
        if name != "warnings"
    }


def _discriminating_names(model: Any) -> tuple[str, ...]:
    fields = model.model_fields
    return get_args((fields.get("scheme") or fields["type"]).annotation)
