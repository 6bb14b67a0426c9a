"""JSON as people write it in template files: comments, trailing commas, a byte order mark and multi-line strings pass.

Everything else is refused with its line and column, and so are documents nested too deeply and duplicate
keys, unless the first was empty or the same: then nothing is lost.
Source: "JSON templates: comments and multi-line strings" of the ARM template syntax page;
docs/reference/clients.md#requests.
"""

import re
from typing import Any

from vmkiln.arm_template.json_path import member_path
from vmkiln.errors import Mistake, TemplateInvalid

MAXIMUM_DEPTH = 64
MAXIMUM_DIGITS = 300
LONGEST_PATH = 300  # letters, whose members' places are noted; of what is deeper, that of what it is in

_SPACE = re.compile(r"(?:[ \t\r\n\u00a0\ufeff]+|//[^\r\n]*|/\*.*?\*/)*", re.DOTALL)
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_PLAIN = re.compile(r'[^"\\\x00-\x08\x0b\x0c\x0e-\x1f]*')
_PLAIN_SINGLE = re.compile(r"[^'\\\x00-\x08\x0b\x0c\x0e-\x1f]*")
_NAME = re.compile(r"[A-Za-z_$][\w$]*")
_YAML_BEGINS = re.compile(r"---\s|[A-Za-z$][\w.$-]*:\s")
_WORD = re.compile(r"[A-Za-z]+")
_BARE = re.compile(
    r"<[A-Za-z][\w .\-/]{0,80}>|\{\{\s*[A-Za-z][\w .\-]{0,80}?\s*\}\}|#\{\s*[A-Za-z][\w .\-]{0,80}?\s*\}#"
    r"|\$\{\s*[A-Za-z][\w .\-]{0,80}?\s*\}|\$\([A-Za-z][\w.\-]{0,80}\)|__[A-Za-z]\w{0,80}?__(?!\w)"
    r"|(?:(?:REPLACE|CHANGE)[_-]?ME|REPLACE_WITH_[A-Z0-9_]+|YOUR[_-][A-Z0-9_-]+|PLACEHOLDER(?:_[A-Z0-9_]+)?|TODO)(?![A-Za-z0-9])"
)
_NEVER = re.compile(r"(?!)")
_HEX = re.compile(r"[0-9A-Fa-f]{4}")
_WORDS = {"true": True, "false": False, "null": None}
_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


class Bare(str):
    """A placeholder that stands outside quotes, as `<region>` may in a file that nobody has filled in yet."""

    __slots__ = ()


def read_json(
    text: str,
    *,
    file_name: str,
    bare_names: bool = False,
    bare_placeholders: bool = False,
    single_quotes: bool = False,
    places: dict[str, int] | None = None,
) -> Any:
    """The value that `text` holds: dict, list, str, int, float, bool or None.

    With `bare_names`, members' names may stand without quotes, as az writes one of them; with `bare_placeholders`,
    `<x>`, `{{x}}` and `REPLACE_ME` too, which are then `Bare`; with `single_quotes`, texts may stand in those. `places`
    is filled with where each member and element begins, by its path in small letters (`arm_template/json_places.py`).

    Raises TemplateInvalid with one mistake, whose path is `<file name>:<line>:<column>`.
    """
    quotes = "\"'" if single_quotes else '"'
    bare = _BARE if bare_placeholders else _NEVER
    reader = _Reader(text, file_name, names=_NAME if bare_names else bare, bare=bare, quotes=quotes)
    reader.places = places
    return reader.document()


class _Reader:
    """One pass over one text; `_at` is how far it has come."""

    def __init__(
        self, text: str, file_name: str, *, names: re.Pattern[str], bare: re.Pattern[str], quotes: str
    ) -> None:
        self._text = text
        self._file_name = file_name
        self._names = names  # without quotes, of members
        self._bare = bare
        self._quotes = quotes
        self._at = 0
        self.places: dict[str, int] | None = None
        self._path = ""  # of the value that is read, while places are noted

    def document(self) -> Any:
        self._skip_space()
        if self._at == len(self._text):
            raise self._refusal("the file is empty; expected a JSON object")
        value = self._value(1)
        self._skip_space()
        if self._at < len(self._text):
            raise self._refusal("expected the end of the file after the JSON value")
        return value

    def _value(self, depth: int) -> Any:
        if depth > MAXIMUM_DEPTH:
            raise self._refusal(f"nested deeper than {MAXIMUM_DEPTH} levels")
        if placeholder := self._bare.match(self._text, self._at):
            self._at = placeholder.end()
            return Bare(placeholder[0])
        match self._text[self._at : self._at + 1]:
            case "{":
                return self._object(depth)
            case "[":
                return self._array(depth)
            case '"':
                return self._string()
            case "'" if "'" in self._quotes:
                return self._string()
            case "":
                raise self._refusal("the file ends where a value was expected")
        if number := _NUMBER.match(self._text, self._at):
            return self._number(number)
        word = _WORD.match(self._text, self._at)
        if word and word[0] in _WORDS:
            self._at = word.end()
            return _WORDS[word[0]]
        shown = word[0] if word else self._text[self._at]
        hint = "text must stand in double quotes"
        if depth == 1 and _YAML_BEGINS.match(self._text, self._at):
            hint = "it looks like YAML: give the file a name that ends in .yaml"
        raise self._refusal(f"expected a JSON value, found {shown[:40]!r}", hint=hint)

    def _object(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        opened = self._at
        self._at += 1
        while not self._closed_by("}", opened):
            key_at = self._at
            bare = self._names.match(self._text, self._at)
            if bare is None and not self._text.startswith(tuple(self._quotes), self._at):
                raise self._refusal("expected a member name in double quotes, or `}`")
            if bare is not None:
                key, self._at = bare[0], bare.end()
            else:
                key = self._string()
            self._skip_space()
            if not self._text.startswith(":", self._at):
                raise self._refusal(
                    f"expected `:` after the member name {key[:60]!r}", hint="or a quote is missing before it"
                )
            self._at += 1
            self._skip_space()
            value = self._placed(key, key_at, depth + 1)
            if found.get(key) not in (None, "", value):
                raise self._refusal(f"the member {key!r} is given twice in the same object", at=key_at)
            found[key] = value
            self._comma_or("}")
        return found

    def _array(self, depth: int) -> list[Any]:
        found: list[Any] = []
        opened = self._at
        self._at += 1
        while not self._closed_by("]", opened):
            found.append(self._placed(len(found), self._at, depth + 1))
            self._comma_or("]")
        return found

    def _placed(self, name: str | int, at: int, depth: int) -> Any:
        """The value of a member or element that begins at `at`, which is noted where that is wanted."""
        if self.places is None or len(self._path) > LONGEST_PATH:
            return self._value(depth)
        above, self._path = self._path, member_path(self._path, name)
        self.places[self._path.lower()] = at
        value = self._value(depth)
        self._path = above
        return value

    def _closed_by(self, bracket: str, opened: int) -> bool:
        self._skip_space()
        if self._at == len(self._text):
            line, column = self._place(opened)
            raise self._refusal(
                f"the file ends inside the `{self._text[opened]}` opened at line {line}, column {column}"
            )
        if self._text[self._at] == bracket:
            self._at += 1
            return True
        return False

    def _comma_or(self, bracket: str) -> None:
        self._skip_space()
        if self._text.startswith(",", self._at):
            self._at += 1
        elif self._at < len(self._text) and self._text[self._at] != bracket:
            raise self._refusal(f"expected `,` or `{bracket}`", hint="a comma or a quote is missing just before")

    def _string(self) -> str:
        opened = self._at
        quote = self._text[opened]
        plain_letters = _PLAIN if quote == '"' else _PLAIN_SINGLE
        self._at += 1
        pieces = []
        while True:
            plain = plain_letters.match(self._text, self._at)
            assert plain is not None
            pieces.append(plain[0])
            self._at = plain.end()
            if self._at == len(self._text):
                raise self._refusal("this string is never closed", at=opened)
            if self._text[self._at] == quote:
                self._at += 1
                break
            if self._text[self._at] != "\\":
                raise self._refusal(
                    f"the control character U+{ord(self._text[self._at]):04X} must be written as an escape"
                )
            pieces.append(self._escape())
        value = "".join(pieces)
        if any("\ud800" <= character <= "\udfff" for character in value):
            value = value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            if "\ufffd" in value:
                raise self._refusal("this string holds half of a surrogate pair", at=opened)
        return value

    def _escape(self) -> str:
        letter = self._text[self._at + 1 : self._at + 2]
        if letter == "'" and "'" in self._quotes:
            self._at += 2
            return letter
        if letter in _ESCAPES and letter:
            self._at += 2
            return _ESCAPES[letter]
        digits = _HEX.match(self._text, self._at + 2)
        if letter == "u" and digits:
            self._at += 6
            return chr(int(digits[0], 16))
        raise self._refusal(f"the escape `\\{letter}` does not exist in JSON", hint="write a backslash as `\\\\`")

    def _number(self, found: re.Match[str]) -> int | float:
        if len(found[0]) > MAXIMUM_DIGITS:
            raise self._refusal("this number is too long")
        value = int(found[0]) if found[1] is None and found[2] is None else float(found[0])
        if value in (float("inf"), float("-inf")):
            raise self._refusal("this number is too large")
        self._at = found.end()
        return value

    def _skip_space(self) -> None:
        space = _SPACE.match(self._text, self._at)
        assert space is not None
        self._at = space.end()
        if self._text.startswith("/*", self._at):
            raise self._refusal("this comment is never closed")

    def _place(self, at: int) -> tuple[int, int]:
        return self._text.count("\n", 0, at) + 1, at - self._text.rfind("\n", 0, at)

    def _refusal(self, message: str, *, hint: str | None = None, at: int | None = None) -> TemplateInvalid:
        line, column = self._place(self._at if at is None else at)
        return TemplateInvalid([Mistake(f"{self._file_name}:{line}:{column}", message, hint)])
