"""YAML as people write templates in it: plain values only, dates and versions stay as they are written; pure."""

import json
import re
from collections.abc import Hashable
from typing import Any

import yaml  # type: ignore[import-untyped]

from vmkiln.arm_template.budget import Budget
from vmkiln.arm_template.json_path import member_path
from vmkiln.arm_template.lenient_json import LONGEST_PATH, MAXIMUM_DIGITS
from vmkiln.arm_template.plain_text import MAXIMUM_VALUES, check_size
from vmkiln.errors import Mistake, TemplateInvalid

HINT = "it was read as YAML"
_WORDS = re.compile(r"(?m)\A\ufeff?(?:---\s*$|(?:[^\S\n]*(?:#.*)?\n)*[A-Za-z$][\w$-]*:(?:\s|$))")
_TAG = "tag:yaml.org,2002:"
_INT, _MERGE = f"{_TAG}int", f"{_TAG}merge"
_RESOLVED = {f"{_TAG}null", _MERGE, f"{_TAG}float"}
_MADE = {f"{_TAG}{name}" for name in ("null", "bool", "float", "str", "seq")}


def is_yaml(text: str) -> bool:
    """Whether a text that is no JSON begins as YAML does: with a document's mark, or with a member."""
    return _WORDS.match(text) is not None


def json_of_yaml(text: str, name: str, *, places: dict[str, int] | None = None) -> str:
    """A YAML text as JSON; several documents are a list. `places` is filled as by `lenient_json.read_json`.

    Raises: `TemplateInvalid` with one mistake, whose path is `<name>:<line>:<column>` where that is known.
    """
    try:
        values = _values(text, places)
        value = values[0] if len(values) == 1 else values or None
        check_size(value, name, Budget())
        return json.dumps(value, allow_nan=False)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "cannot be read"
        line, column = (mark.line + 1, mark.column + 1) if mark else _place(text, getattr(error, "position", 0))
        raise TemplateInvalid([Mistake(f"{name}:{line}:{column}", str(problem), HINT)]) from error
    except RecursionError as error:
        raise TemplateInvalid([Mistake(f"{name}:1:1", "is nested too deeply", HINT)]) from error
    except (ValueError, TypeError, KeyError) as error:
        raise TemplateInvalid([Mistake(f"{name}:1:1", f"holds what JSON cannot: {error}", HINT)]) from error


def _place(text: str, at: int) -> tuple[int, int]:
    return text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)


def _values(text: str, places: dict[str, int] | None) -> list[Any]:
    """The documents of a text in which anything stands; places are those of one that is alone."""
    loader = _Loader(text)
    found: list[Any] = []
    begins: dict[str, int] = {}
    try:
        while loader.check_node():
            node = loader.get_node()
            if places is not None and not found:
                _note(node, "", begins, set())
            if (value := loader.construct_document(node)) is not None:
                found.append(value)
    finally:
        loader.dispose()
    if places is not None and len(found) == 1:
        places.update(begins)
    return found


def _note(node: Any, path: str, places: dict[str, int], seen: set[int]) -> None:
    """Note where each member and element below a node begins; of what has several names, at the first."""
    if id(node) in seen or len(path) > LONGEST_PATH or isinstance(node, yaml.ScalarNode):
        return
    seen.add(id(node))
    is_mapping = isinstance(node, yaml.MappingNode)
    inside = node.value if is_mapping else [(item, item) for item in node.value]
    for number, (begin, value) in enumerate(inside):
        if not is_mapping or isinstance(begin, yaml.ScalarNode):
            where = member_path(path, str(begin.value) if is_mapping else number)
            places.setdefault(where.lower(), begin.start_mark.index)
            _note(value, where, places, seen)


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Reads YAML 1.2's words: `yes` is a text, and so is 2024-02-01; and only what JSON has."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._brought_in = 0

    def flatten_mapping(self, node: Any) -> None:
        """Put what `<<` brings in before a mapping's own members, as long as that is no flood."""
        for key, value in node.value:
            if key.tag == _MERGE:
                for one in value.value if isinstance(value, yaml.SequenceNode) else (value,):
                    if isinstance(one, yaml.MappingNode):
                        self.flatten_mapping(one)
                        self._brought_in += len(one.value)
                        if self._brought_in > MAXIMUM_VALUES:
                            raise yaml.constructor.ConstructorError(
                                None, None, "the merges bring in too much", key.start_mark
                            )
        super().flatten_mapping(node)


def _mapping(loader: _Loader, node: Any) -> dict[str, Any]:
    """A mapping in which every name stands once and is a text; over what `<<` brings in, its own members win."""
    written: set[Hashable] = set()
    if not isinstance(node, yaml.MappingNode):
        raise yaml.constructor.ConstructorError(None, None, "expected members", node.start_mark)
    for key_node, _ in node.value:
        key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
        if key is None:
            raise yaml.constructor.ConstructorError(None, None, "a member's name must be a text", key_node.start_mark)
        if key in written:
            problem = f"the member '{key}' is given twice in the same object"
            raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
        written.add(key)
    loader.flatten_mapping(node)  # what is brought in stands first then
    found: dict[str, Any] = {}
    for key_node, value_node in node.value:
        found[str(key_node.value)] = loader.construct_object(value_node, deep=True)
    return found


def _whole(loader: _Loader, node: Any) -> int:
    """A whole number, by tens whatever it begins with."""
    text = loader.construct_scalar(node)
    if not re.fullmatch(r"[-+]?[0-9]+", text) or len(text) > MAXIMUM_DIGITS:
        raise yaml.constructor.ConstructorError(None, None, "is no whole number, or too long", node.start_mark)
    return int(text)


_Loader.yaml_implicit_resolvers = {
    letter: [(tag, expression) for tag, expression in found if tag in _RESOLVED]
    for letter, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _name, _expression, _letters in (
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("int", r"^[-+]?[0-9]+$", "-+0123456789"),
):
    _Loader.add_implicit_resolver(f"{_TAG}{_name}", re.compile(_expression), list(_letters))
_Loader.yaml_constructors = {
    tag: made for tag, made in yaml.SafeLoader.yaml_constructors.items() if tag is None or tag in _MADE
}
_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
_Loader.add_constructor(_INT, _whole)
