"""The expressions of ARM templates, `[concat(parameters('x'), '-image')]`: from text to a small tree.

A string is an expression if it starts with `[`, ends with `]` and does not start with `[[`, which stands for a plain
`[`. Source: the ARM template syntax page, "Template expressions".
"""

import re
from dataclasses import dataclass

from vmkiln.errors import Mistake, TemplateInvalid

MAXIMUM_DEPTH = 40
MAXIMUM_LENGTH = 24_576  # characters, as in Azure Resource Manager

_SPACE = re.compile(r"\s*")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FUNCTION = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)?(?=\s*\()")
_INTEGER = re.compile(r"[+-]?[0-9]{1,19}(?![0-9A-Za-z_])")
_STRING = re.compile(r"'((?:[^']|'')*)'")


@dataclass(frozen=True)
class Literal:
    """A string or an integer that stands for itself."""

    value: str | int


@dataclass(frozen=True)
class Call:
    """`function(argument, ...)`; a user's own function has a namespace: `space.function(...)`."""

    function: str
    arguments: tuple["Expression", ...]


@dataclass(frozen=True)
class Access:
    """`target.name` or `target[index]`; with `is_safe` (`target.?name`), null where there is none."""

    target: "Expression"
    key: "Expression"
    is_safe: bool = False


Expression = Literal | Call | Access


def is_expression(text: str) -> bool:
    """Whether a string of a template is to be evaluated."""
    return text.startswith("[") and text.endswith("]") and not text.startswith("[[")


def unescaped(text: str) -> str:
    """The string that a template's string stands for if it is no expression."""
    return text[1:] if text.startswith("[[") and text.endswith("]") else text


def escaped(text: str) -> str:
    """The string of a template that stands for this one and is no expression: what `unescaped` reads."""
    return f"[{text}" if text.startswith("[") and text.endswith("]") else text


def quoted(text: str) -> str:
    """A text as a literal inside an expression."""
    doubled = text.replace("'", "''")
    return f"'{doubled}'"


def parse_expression(text: str, *, path: str) -> Expression:
    """The tree of `text`, brackets included. Raises TemplateInvalid with the position, at `path`."""
    if len(text) > MAXIMUM_LENGTH:
        raise TemplateInvalid([Mistake(path, f"the expression is longer than {MAXIMUM_LENGTH} characters")])
    return _Parser(text, path).whole()


class _Parser:
    """One pass over one expression; `_at` is how far it has come."""

    def __init__(self, text: str, path: str) -> None:
        self._text = text
        self._path = path
        self._at = 1
        self._depth = 0

    def whole(self) -> Expression:
        found = self._expression()
        self._skip_space()
        if self._at != len(self._text) - 1:
            raise self._refusal("expected the closing `]` of the expression")
        return found

    def _expression(self) -> Expression:
        self._depth += 1
        if self._depth > MAXIMUM_DEPTH:
            raise self._refusal(f"nested deeper than {MAXIMUM_DEPTH} levels")
        found = self._primary()
        links = 0
        while True:
            self._skip_space()
            links += 1
            if links > MAXIMUM_DEPTH:
                raise self._refusal(f"more than {MAXIMUM_DEPTH} members in a row")
            if self._takes(".") or self._takes("?."):
                is_safe = self._text[self._at - 2] == "?" or self._takes("?")
                found = Access(found, self._member_name(), is_safe)
            elif self._text.startswith("[", self._at):
                self._at += 1
                is_safe = self._takes("?")
                found = Access(found, self._expression(), is_safe)
                if not self._takes("]"):
                    raise self._refusal("expected `]` after the index")
            else:
                break
        self._depth -= 1
        return found

    def _member_name(self) -> Literal:
        self._skip_space()
        name = _NAME.match(self._text, self._at)
        if not name:
            raise self._refusal("expected a member's name after `.`")
        self._at = name.end()
        return Literal(name[0])

    def _primary(self) -> Expression:
        self._skip_space()
        if string := _STRING.match(self._text, self._at):
            self._at = string.end()
            return Literal(string[1].replace("''", "'"))
        if integer := _INTEGER.match(self._text, self._at):
            self._at = integer.end()
            return Literal(int(integer[0]))
        if function := _FUNCTION.match(self._text, self._at):
            self._at = function.end()
            return Call(function[0], self._arguments())
        if self._text.startswith("'", self._at):
            raise self._refusal("this string is never closed", hint="a quote inside a string is written twice: `''`")
        if name := _NAME.match(self._text, self._at):
            hint = f"a function is written `{name[0]}(...)`, a string '{name[0]}'"
            raise self._refusal(f"`{name[0]}` is neither a function nor a string", hint=hint)
        raise self._refusal("expected a function, a string or a whole number")

    def _arguments(self) -> tuple[Expression, ...]:
        found: list[Expression] = []
        self._skip_space()
        self._at += 1  # the bracket that _FUNCTION saw
        if self._takes(")"):
            return ()
        while True:
            found.append(self._expression())
            if self._takes(")"):
                return tuple(found)
            if not self._takes(","):
                raise self._refusal("expected `,` or `)` in a function's arguments")

    def _takes(self, mark: str) -> bool:
        self._skip_space()
        if self._text.startswith(mark, self._at):
            self._at += len(mark)
            return True
        return False

    def _skip_space(self) -> None:
        space = _SPACE.match(self._text, self._at)
        assert space is not None
        self._at = space.end()

    def _refusal(self, message: str, *, hint: str | None = None) -> TemplateInvalid:
        shown = self._text if len(self._text) <= 120 else f"{self._text[:117]}..."
        message = f"{message}, at character {self._at + 1} of the expression `{shown}`"
        return TemplateInvalid([Mistake(self._path, message, hint)])
