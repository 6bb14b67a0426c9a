"""Reads a PowerShell or shell script as far as words and variables go; pure.

Nothing is run. A word is as its variables make it, when they are known: from environment variables, from arguments,
or from an assignment above it. Source: "About Parsing" and "About Quoting Rules" (PowerShell); POSIX, Shell Command
Language, sections 2.2 and 2.6.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

MOST_SCRIPT_LETTERS = 64 * 1024
_TOKEN = re.compile(
    r"(?P<space>[ \t\r]+)|(?P<end>\n|;|&&|\|\||\||&|[{}()])|"
    r"(?P<word>(?:'[^']*'|\"(?:[^\"\\`]|[\\`].)*\"|\$\{[^}\n]*\}|[^\s;|&{}()'\"])+)",
    re.DOTALL,
)
_PIECE = re.compile(r"'([^']*)'|\"((?:[^\"\\`]|[\\`].)*)\"|((?:\$\{[^}\n]*\}|[^'\"])+)", re.DOTALL)
_VARIABLE = re.compile(r"\$\{(?:env:)?(\w+)\}|\$(?:env:)?(\w+)|\$(?=\(|$)", re.IGNORECASE)
_POWERSHELL_SET = re.compile(r"\$(?:env:)?(\w+)=(.*)", re.DOTALL)
_SHELL_SET = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
_CONSTANTS = {"true", "false", "null", "_"}


class UnknownValue(Exception):
    """A word needs a variable that nobody gave; `name` says which."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


@dataclass(frozen=True)
class Command:
    """One command: its words as they stand, and what is known of variables where it stands."""

    words: tuple[str, ...]
    variables: Mapping[str, str]
    tables: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def value(self, word: str) -> str:
        """What a word means. Raises: `UnknownValue`."""
        return "".join(self._piece(*found.groups()) for found in _PIECE.finditer(word))

    def _piece(self, literal: str | None, quoted: str | None, bare: str | None) -> str:
        if literal is not None:
            return literal
        text = quoted if quoted is not None else bare or ""
        return re.sub(r"[\\`](.)", r"\1", _VARIABLE.sub(self._variable, text), flags=re.DOTALL)

    def _variable(self, found: re.Match[str]) -> str:
        name = found[1] or found[2]
        if not name:
            raise UnknownValue("$(...)")
        if name.lower() not in self.variables:
            raise UnknownValue(name)
        return self.variables[name.lower()]


def words_of(text: str) -> list[str]:
    """The words of one line, such as a script's `arguments`, as they stand."""
    return [found["word"] for found in _TOKEN.finditer(text) if found["word"]]


def commands_of(text: str, *, is_powershell: bool, variables: Mapping[str, str], arguments: str) -> Iterator[Command]:
    """The commands of a script, in their order; what is in blocks and in `$(...)` stands among the others."""
    known = {name.lower(): value for name, value in variables.items()}
    given = words_of(arguments)
    if not is_powershell:
        for index, word in enumerate(given, start=1):
            known[str(index)] = Command((), known).value(word)
    tables: dict[str, dict[str, str]] = {}
    table = ""  # the hash table that is being written
    is_inside = False  # the parentheses of `param`
    depth = 0
    for words, end in _segments(_plain(text, is_powershell=is_powershell)):
        command = Command(tuple(words), dict(known), {name: dict(items) for name, items in tables.items()})
        if is_powershell and words and words[-1].lower() == "param" and end == "(":
            is_inside, depth = True, 1
            _bind(text, given, known)
            continue
        if is_inside:
            _assign(words, known, is_powershell=True, is_default=True)
            depth += (end == "(") - (end == ")")
            is_inside = depth > 0
            continue
        if table:
            for name, word in _pairs(words):
                tables[table][name.lower()] = word
            table = table if end != "}" else ""
            continue
        if is_powershell and end == "{" and len(words) >= 2 and words[-1].endswith("@"):
            table = words[0].strip("$=@ ").lower()
            tables[table] = {}
            continue
        if not _assign(words, known, is_powershell=is_powershell) and words:
            yield command


def _plain(text: str, *, is_powershell: bool) -> str:
    """The script without comments, its continued lines joined."""
    if is_powershell:
        text = re.sub(r"<#.*?#>", "", text, flags=re.DOTALL)
    text = re.sub(r"(?m)(^|\s)#.*$", r"\1", text)
    return re.sub(r"[`\\][ \t]*\r?\n", " ", text)


def _segments(text: str) -> Iterator[tuple[list[str], str]]:
    words: list[str] = []
    for found in _TOKEN.finditer(text):
        if found["word"]:
            words.append(found["word"])
        elif found["end"]:
            yield words, found["end"]
            words = []
    yield words, "\n"


def _pairs(words: list[str]) -> Iterator[tuple[str, str]]:
    """`Name = value` of a hash table."""
    match words:
        case [name, "=", word]:
            yield name.strip("'\""), word
        case [one] if "=" in one:
            name, _, word = one.partition("=")
            yield name.strip("'\""), word


def _assign(words: list[str], known: dict[str, str], *, is_powershell: bool, is_default: bool = False) -> bool:
    """Keep what an assignment says; whether the words are nothing but one."""
    if is_powershell:
        words = [word for word in words if not word.startswith("[") or "$" in word]
        words = [word.rpartition("]")[2] if word.startswith("[") else word for word in words]
        if len(words) == 3 and words[0].startswith("$") and words[1] == "=":
            words = ["".join(words)]
    elif words[:1] in (["export"], ["local"], ["readonly"], ["declare"]):
        words = words[1:]
    found = (_POWERSHELL_SET if is_powershell else _SHELL_SET).fullmatch(words[0].rstrip(",")) if words else None
    if found is None or len(words) > 1:
        return False
    name = found[1].lower()
    if is_default and name in known:
        return True
    try:
        known[name] = Command((), known).value(found[2])
    except UnknownValue:
        known.pop(name, None)
    return True


def _bind(text: str, given: list[str], known: dict[str, str]) -> None:
    """The parameters of a PowerShell script: by name, or in the order of its `param` block."""
    block = text[re.search(r"(?i)\bparam\s*\(", text).end() :]  # type: ignore[union-attr] # the caller found it
    names = [name.lower() for name in re.findall(r"\$(\w+)", block) if name.lower() not in _CONSTANTS]
    names = list(dict.fromkeys(names))
    unnamed: list[str] = []
    index = 0
    while index < len(given):
        name = given[index].lstrip("-").rstrip(":").lower()
        if given[index].startswith("-") and name in names and index + 1 < len(given):
            known[name] = Command((), known).value(given[index + 1])
            names.remove(name)
            index += 1
        elif not given[index].startswith("-"):
            unnamed.append(given[index])
        index += 1
    for name, word in zip(names, unnamed, strict=False):
        known[name] = Command((), known).value(word)
