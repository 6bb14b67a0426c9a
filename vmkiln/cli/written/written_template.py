"""A template as its author wrote it, so that each mistake in it can be told with its line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from vmkiln.azure_names import IMAGE_TEMPLATE
from vmkiln.cli.output import PLACED
from vmkiln.errors import Mistake, TemplateInvalid

if TYPE_CHECKING:
    from vmkiln.arm_template.json_places import Places

MOST_DEPTH = 40  # below which no image template is looked for in a file
OF_A_DEPLOYMENT = {"parameters", "variables", "functions", "definitions", "resources", "outputs"}


@dataclass(frozen=True)
class WrittenTemplate:
    """The text of a file, its name, what it is written in (`json`, `yaml`; of all else nothing is placed).

    `json` is the same as JSON, `template_name` which of several image templates in it is meant; '' for the only one.
    """

    file_name: str
    kind: str
    text: str
    json: str
    template_name: str = ""

    def placed(self, mistakes: Iterable[Mistake]) -> tuple[Mistake, ...]:
        """The same mistakes, each with its line and column where that is known; pure."""
        found = tuple(mistakes)
        if not found:
            return ()
        places, own = self._places()
        return tuple(self._placed(mistake, places, own) for mistake in found)

    def _placed(self, mistake: Mistake, places: Places | None, own: str) -> Mistake:
        if places is None or PLACED.fullmatch(mistake.path):  # its path is its place
            return mistake
        place = places.of(_path_in_file(mistake.path, own))
        if place is None:
            return mistake
        return replace(mistake, file=self.file_name, line=place.line, column=place.column)

    def _places(self) -> tuple[Places | None, str]:
        """The places in the text, and the path at which the image template stands in it; '' where it is the whole."""
        from vmkiln.arm_template.json_places import Places
        from vmkiln.arm_template.lenient_json import read_json

        begins: dict[str, int] = {}
        try:
            whole = read_json(self.json, file_name="", bare_placeholders=True, places=begins)
        except TemplateInvalid:
            return None, ""
        if self.kind == "yaml":
            from vmkiln.arm_template.yaml_text import json_of_yaml

            begins = {}
            json_of_yaml(self.text, self.file_name, places=begins)
        elif self.kind != "json":
            return None, ""
        inside = [(path, resource) for path, resource in _templates_in(whole) if path]
        if self.template_name:
            wanted = self.template_name.lower()
            inside = [one for one in inside if str(one[1].get("name", "")).lower() == wanted] or inside
        return Places(self.text, begins), inside[0][0] if len(inside) == 1 else ""


def placed_error(error: TemplateInvalid, written: WrittenTemplate) -> TemplateInvalid:
    """The same error with the lines of its mistakes; pure."""
    return TemplateInvalid(written.placed(error.mistakes))


def _path_in_file(path: str, own: str) -> str:
    """The path in a file of what has this path in the image template, or in the deployment, around it; pure."""
    first = path.lower().partition(".")[0].partition("[")[0]
    is_of_file = not own or first in OF_A_DEPLOYMENT or path.lower().startswith(own.lower())
    return path if is_of_file else f"{own}.{path}"


def _templates_in(value: Any, path: str = "", depth: int = 0) -> Iterator[tuple[str, dict[str, Any]]]:
    """The resources of a file that are image templates, each with its path; pure."""
    from vmkiln.arm_template.json_path import member_path

    if depth > MOST_DEPTH:
        return
    if isinstance(value, dict):
        if str(value.get("type", "")).lower() == IMAGE_TEMPLATE.lower():
            yield path, value
            return
        parts: Sequence[tuple[str | int, Any]] = list(value.items())
    elif isinstance(value, list):
        parts = list(enumerate(value))
    else:
        return
    for name, inner in parts:
        yield from _templates_in(inner, member_path(path, name), depth + 1)
