"""Types of parameters, also of functions, and of outputs: `type` with its limits, and the user's own.

A declaration of languageVersion 2.0 may name one of the template's `definitions` by `$ref`, describe members
(`properties`, `additionalProperties`) and elements (`items`, `prefixItems`), and choose by a member (`discriminator`).
No message tells a value of a secure type. Source: "Parameters in ARM templates"; "Type definitions in ARM templates".
"""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from vmkiln.arm_template.budget import MOST_MISTAKES, Budget, some
from vmkiln.arm_template.json_path import member_path
from vmkiln.arm_template.values import is_among, kind_of, member, member_of
from vmkiln.errors import Mistake

KINDS: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "int": (int,),
    "bool": (bool,),
    "array": (list,),
    "object": (dict,),
}
ARTICLES = {"string": "a string", "int": "a whole number", "bool": "true or false", "array": "an array"}
_SECURE = "secure"
_MOST_REFERENCES = 16
LONGEST_KIND = 40  # letters of the name of a type
MEMBER_BYTES = 100  # of a dictionary
_NAMES = (
    *("defaultValue", "allowedValues", "minValue", "maxValue", "minLength", "maxLength", "type", "nullable", "items"),
    *("prefixItems", "properties", "additionalProperties", "discriminator", "sealed", "$ref", "metadata"),
)
_BY_LOWER: dict[str, str] = {name.lower(): name for name in _NAMES}

Schema = Mapping[str, Any]


def resolved(declaration: Schema, document: Schema, budget: Budget) -> dict[str, Any]:
    """A declaration with what its `$ref` names taken in, and members spelled as Azure spells them; pure.

    What stands beside a `$ref` wins. A `$ref` to nothing leaves no `type`. Raises ValueError for a circle of them.
    """
    found: dict[str, Any] = {}
    here: Any = declaration
    for _ in range(_MOST_REFERENCES):
        if not isinstance(here, dict):
            break
        budget.work(1 + len(here) // 4)
        budget.make(len(here) * MEMBER_BYTES)
        spelled: dict[str, Any] = {str(_BY_LOWER.get(key.lower(), key)): value for key, value in here.items()}
        reference = spelled.pop("$ref", None)
        found = {**spelled, **found}
        if not isinstance(reference, str):
            return found
        here = document
        budget.work(len(reference) // 16)
        for step in reference.split("/")[1:]:
            inside = member_of(here, step.replace("~1", "/").replace("~0", "~"), budget)
            here = inside[0] if inside else None
    else:
        raise ValueError("its `$ref` leads in a circle, or through too many others")
    return found


def plain_kind(schema: Schema) -> tuple[str, bool]:
    """The type in lower case without "secure", and whether it is secure; `` for none."""
    named = schema.get("type", "")
    kind = named[:LONGEST_KIND].lower() if isinstance(named, str) else ""
    return kind.removeprefix(_SECURE), kind.startswith(_SECURE)


def unknown_type(path: str, declaration: Schema, schema: Schema, *, of: str) -> Mistake:
    """What is wrong with a declaration at `path` whose `resolved` form has no type that there is; pure."""
    if "type" not in schema and (reference := member(declaration, "$ref")) is not None:
        return Mistake(member_path(path, "$ref"), f"`{str(reference)[:200]}` is not among the template's definitions")
    hint = "allowed are string, securestring, int, bool, object, secureObject, array"
    where, kind = member_path(path, "type"), schema.get("type")
    if kind is None:
        return Mistake.missing(where, hint)
    return Mistake(where, f"`{str(kind)[:80].lower()}` is not a type of {of}", hint)


def first_mistakes(
    value: Any, declaration: Schema, document: Schema, path: str, budget: Budget, *, is_secure: bool = False
) -> list[Mistake]:
    """The first of `type_mistakes`; that it is too much to look at is one, too."""
    found = type_mistakes(value, declaration, document, path, budget, is_secure=is_secure)
    try:
        return list(islice(found, MOST_MISTAKES))
    except ValueError as error:
        return [Mistake(path, str(error))]
    except RecursionError:
        return [Mistake(path, "the value, or its type, is nested too deeply")]


def type_mistakes(
    value: Any, declaration: Schema, document: Schema, path: str, budget: Budget, *, is_secure: bool = False
) -> Iterator[Mistake]:
    """What a value of that type must not be. Raises ValueError when the budget is spent."""
    budget.work(1 + len(path) // 256)
    schema = resolved(declaration, document, budget)
    kind, has_secret = plain_kind(schema)
    is_secure = is_secure or has_secret
    if value is None and schema.get("nullable") is True:
        return
    if kind in KINDS and (not isinstance(value, KINDS[kind]) or (kind == "int" and isinstance(value, bool))):
        yield Mistake(path, f"must be {ARTICLES.get(kind, 'an object')}, not {kind_of(value)}")
        return
    for text in _broken_limits(schema, value, budget, is_secure=is_secure):
        yield Mistake(path, text)
    if isinstance(value, dict):
        yield from _member_mistakes(value, schema, document, path, budget, is_secure=is_secure)
    elif isinstance(value, list):
        yield from _element_mistakes(value, schema, document, path, budget, is_secure=is_secure)


def _member_mistakes(
    value: dict[str, Any], schema: dict[str, Any], document: Schema, path: str, budget: Budget, *, is_secure: bool
) -> Iterator[Mistake]:
    chosen = schema.get("discriminator")
    if isinstance(chosen, dict):
        name, choices = str(member(chosen, "propertyName")), member(chosen, "mapping")
        choices = choices if isinstance(choices, dict) else {}
        where = member_path(path, name)
        given = member_of(value, name, budget)
        if given is None:
            yield Mistake.missing(where, f"one of {some(choices)}")
            return
        branch = choices.get(given[0]) if isinstance(given[0], str) else None
        if not isinstance(branch, dict):
            yield Mistake(where, f"`{str(given[0])[:80]}` is not one of {some(choices)}")
            return
        yield from type_mistakes(value, branch, document, path, budget, is_secure=is_secure)
        return
    properties = schema.get("properties")
    known = properties if isinstance(properties, dict) else {}
    budget.work(len(known) + len(value))
    for name, declaration in known.items():
        found = member_of(value, name, budget)
        inner = resolved(declaration, document, budget) if isinstance(declaration, dict) else {}
        if found is not None:
            yield from type_mistakes(found[0], inner, document, member_path(path, name), budget, is_secure=is_secure)
        elif inner.get("nullable") is not True:
            yield Mistake.missing(member_path(path, name))
    others = schema.get("additionalProperties")
    is_closed = others is False or schema.get("sealed") is True
    folded = {name.lower() for name in known}
    for name, item in value.items():
        if name.lower() in folded:
            continue
        if is_closed:
            yield Mistake(member_path(path, name), f"is not a member of this type: it has {some(known)}")
        elif isinstance(others, dict):
            yield from type_mistakes(item, others, document, member_path(path, name), budget, is_secure=is_secure)


def _element_mistakes(
    value: list[Any], schema: dict[str, Any], document: Schema, path: str, budget: Budget, *, is_secure: bool
) -> Iterator[Mistake]:
    first = schema.get("prefixItems")
    first = first if isinstance(first, list) else []
    rest = schema.get("items")
    if len(value) < len(first):
        yield Mistake(path, f"has {len(value)} elements and needs {len(first)}")
    if rest is False and len(value) > len(first):
        yield Mistake(path, f"has {len(value)} elements; {len(first)} are allowed")
    for index, item in enumerate(value):
        declaration = first[index] if index < len(first) else rest
        if isinstance(declaration, dict):
            yield from type_mistakes(item, declaration, document, member_path(path, index), budget, is_secure=is_secure)


def _broken_limits(limits: Schema, value: Any, budget: Budget, *, is_secure: bool) -> Iterator[str]:
    shown = "the value" if is_secure or not isinstance(value, str | int) else f"`{str(value)[:200]}`"
    allowed = limits.get("allowedValues")
    if isinstance(allowed, list):
        values = value if isinstance(value, list) and not is_among(value, allowed, budget) else [value]
        if not all(is_among(one, allowed, budget) for one in values):
            choices = "" if is_secure else f": allowed are {some(allowed)}"
            yield f"{shown} is not one of the allowed values{choices}"
    size = value if isinstance(value, int) else len(value) if isinstance(value, str | list | dict) else None
    if size is None:
        return
    for name, word in (("minValue", "less"), ("minLength", "less"), ("maxValue", "more"), ("maxLength", "more")):
        limit = limits.get(name)
        if not isinstance(limit, int) or name.endswith("Value") != isinstance(value, int):
            continue
        if (size < limit) if word == "less" else (size > limit):
            measure = shown if name.endswith("Value") else f"the length of {shown}"
            yield f"{measure} is {word} than {limit}"
