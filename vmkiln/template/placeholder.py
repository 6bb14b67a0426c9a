"""Placeholders that template files carry for `sed`, a pipeline or their reader to fill in.

`<region>`, `<URL of the script>`, `{{ region }}`, `#{region}#`, `REPLACE_ME`, `YOUR_SUBSCRIPTION_ID`; in values and in
members' names, in quotes or bare. One is replaced where its name was given as a parameter. One that is left is a
mistake, but in scripts and free texts, where `<` means something else. `${region}`, `$(region)`, `__region__`,
`@@region@@`, and as a whole value or between slashes `{region}`, `%region%`, `$REGION` and their like, mean something
in scripts and destinations, and are no placeholders there.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from vmkiln.arm_template.json_path import member_path
from vmkiln.arm_template.lenient_json import Bare, read_json
from vmkiln.arm_template.parameters.deployment_parameters import GivenParameter
from vmkiln.errors import Mistake, TemplateInvalid

_WORDS = (
    r"(?i:REPLACE|CHANGE)[_-]?(?i:ME)|REPLACE_WITH_[A-Z0-9_]+|YOUR[_-][A-Z0-9_-]+|PLACEHOLDER(?:_[A-Z0-9_]+)?|TODO"
    r"|(?:INSERT|ENTER|PUT)[_-][A-Z0-9_-]{1,80}[_-]HERE"
)
_EVERYWHERE = (
    r"<<(?P<angles>[A-Za-z][\w .\-/]{0,80})>>|<%=?\s{0,9}(?P<erb>[A-Za-z][\w .\-]{0,80}?)\s{0,9}%>"
    r"|<(?P<angle>[A-Za-z][\w .\-/]{0,80})>"
    r"|\$?\{\{\s*\.?(?P<brace>[A-Za-z][\w .\-]{0,80}?)\s*\}\}"
    r"|#\{\s*(?P<hash>[A-Za-z][\w .\-]{0,80}?)\s*\}#"
    rf"|(?<![A-Za-z0-9])(?P<word>{_WORDS})(?![A-Za-z0-9])"
)
_NOT_IN_SCRIPTS = (
    r"|\$\{\s*(?P<dollar>[A-Za-z][\w .\-]{0,80}?)\s*\}|\$\((?P<macro>[A-Za-z][\w.\-]{0,80})\)"
    r"|\$\[\s{0,9}(?P<runtime>[A-Za-z][\w.\-]{0,80})\s{0,9}\]"
    r"|[#@]\{\s{0,9}(?P<octopus>[A-Za-z][\w .\-]{0,80}?)\s{0,9}\}"
    r"|\{%-?\s{0,9}(?P<jinja>[A-Za-z][\w .\-]{0,80}?)\s{0,9}-?%\}"
    r"|(?<!\w)__(?!(?:init|main)__)(?P<under>[A-Za-z][A-Za-z0-9]{0,40}(?:_[A-Za-z0-9]{1,40}){0,8})__(?!\w)"
    r"|@@(?P<at>[A-Za-z]\w{0,80})@@"
    # as a whole value or between slashes, where `$web` and its like are containers of Azure's:
    r"|(?<![^/])(?:%{1,2}(?P<percent>[A-Za-z]\w{0,80})%{1,2}|#{1,2}(?P<sharp>[A-Za-z]\w{0,80})#{1,2}"
    r"|\$\$?(?P<dollars>[A-Za-z]\w{0,80})\$\$?|\$(?:env:)?(?!(?:web|root|logs)\b)(?P<shell>[A-Za-z_]\w{0,80})"
    r"|~(?P<tilde>[A-Za-z]\w{0,80})~|!(?P<bang>[A-Za-z]\w{0,80})!|\(\((?P<paren>[A-Za-z][\w.\-]{0,80})\)\)"
    r"|\{(?P<curly>[A-Za-z][\w \-]{0,80})\})(?![^/])"
    r"|(?<=/)\[(?P<square>[A-Za-z][\w \-]{0,80})\](?![^/])"
)
_IN_SCRIPTS = re.compile(_EVERYWHERE)
_PLACEHOLDER = re.compile(_EVERYWHERE + _NOT_IN_SCRIPTS)
_ENDS = dict(
    pair.split(" ", 1)
    for pair in ("<< >>", "<%= %>", "<% %>", "< >", "${{ }}", "{{ }}", "${ }", "#{ }", "@{ }", "$( )", "$[ ]")
)
_BEGINS = {end: begin for begin, end in reversed(_ENDS.items())} | {"}}": "{{"}
_HALF = re.compile(  # as a whole value or between slashes
    rf"(?<![^/])(?:(?P<begin>{'|'.join(map(re.escape, _ENDS))})\s{{0,9}}[A-Za-z][\w .\-]{{0,80}}"
    r"|[A-Za-z][\w .\-]{0,80}(?P<end>>>|%>|>|\}\}))(?![^/])"
)
PLAIN_VALUES = {  # members that are numbers, or true or false
    *("osdisksizegb", "buildtimeoutinminutes", "replicacount", "sizegb", "updatelimit", "major", "excludefromlatest"),
    *("runelevated", "runassystem", "continuedistributeonfailure", "sourcevalidationonly"),
}
_FREE = {  # texts in which anything may stand
    *("inline", "tags", "artifacttags", "managedresourcetags", "searchcriteria", "filters", "restartcommand"),
    *("restartcheckcommand", "metadata", "comments"),
}
_OF_SHELLS = _FREE | {"destination"}  # in which `$`, `%` and braces are the shell's
_TITLES = {"name", "destination"}  # in which a bracket may stand alone


def fill_placeholders(
    body: dict[str, Any], given: Mapping[str, GivenParameter]
) -> tuple[dict[str, Any], frozenset[str]]:
    """`body` with each placeholder that has a value replaced, in values and in member names; and the names used."""
    used: set[str] = set()

    def filled(value: Any, member: str = "", pattern: re.Pattern[str] = _PLACEHOLDER) -> Any:
        if isinstance(value, str):
            return _filled_text(value, member, pattern)
        if isinstance(value, list):
            return [filled(item, member, pattern) for item in value]
        if isinstance(value, dict):
            members = ((key, _IN_SCRIPTS if key.lower() in _OF_SHELLS else pattern) for key in value)
            return {str(filled(key)): filled(value[key], key, inside) for key, inside in members}
        return value

    def _filled_text(text: str, member: str, pattern: re.Pattern[str]) -> Any:
        whole = pattern.fullmatch(text)
        found = pattern.sub(replaced, text)
        is_plain = isinstance(text, Bare) or member.lower() in PLAIN_VALUES
        return _read(found) if whole and is_plain and found != text else found

    def replaced(found: re.Match[str]) -> str:
        name = _name_of(found).lower()
        if name not in given:
            return found[0]
        used.add(name)
        value = given[name].value
        return value if isinstance(value, str) else str(value)

    result: dict[str, Any] = filled(body)
    return result, frozenset(used)


def _name_of(found: re.Match[str]) -> str:
    return next(text for text in found.groups() if text is not None)


def _read(text: str) -> Any:
    """What a value means where a number, true or false is wanted; a text that is none stays one."""
    try:
        value = read_json(text, file_name="value")
    except TemplateInvalid:
        return text
    return text if value is None else value


def placeholders_in(text: str, *, is_of_shell: bool = False) -> list[tuple[str, str]]:
    """Each placeholder of a text, as it is written and by its name, `$(x)` and its like not if `is_of_shell`; pure."""
    pattern = _IN_SCRIPTS if is_of_shell else _PLACEHOLDER
    return [(found[0], _name_of(found)) for found in pattern.finditer(text)]


def unfilled(body: Any, path: str = "", *, is_of_shell: bool = False) -> Iterator[Mistake]:
    """A mistake for each value and member's name that still holds placeholders, all of them named; pure."""
    if isinstance(body, str):
        if found := list(dict.fromkeys(placeholders_in(body, is_of_shell=is_of_shell))):
            yield _mistake(path, found)
    elif isinstance(body, list):
        for index, item in enumerate(body):
            yield from unfilled(item, member_path(path, index), is_of_shell=is_of_shell)
    elif isinstance(body, dict):
        if called := _function_of_pulumi(body):
            yield Mistake(path, f"is a function of Pulumi, `{called}`, which is not evaluated here", "write its result")
            return
        for name, item in body.items():
            where = member_path(path, name)
            if found := placeholders_in(name):
                yield _mistake(where, found)
            if isinstance(item, str) and name.lower() not in _FREE | _TITLES:
                yield from _half_ones(item, where)
            if name.lower() not in _FREE or _function_of_pulumi(item):
                yield from unfilled(item, where, is_of_shell=name.lower() in _OF_SHELLS)


def _function_of_pulumi(value: Any) -> str:
    """The function that is called there, such as `fn::split`; '' for any other value."""
    return next((name for name in value if name.lower().startswith("fn::")), "") if isinstance(value, dict) else ""


def _half_ones(text: str, path: str) -> Iterator[Mistake]:
    """A mistake for a text with a placeholder that lacks its end, or its beginning; pure."""
    for found in _HALF.finditer(_PLACEHOLDER.sub("", text)):
        begin, end = found["begin"], found["end"]
        lack = f"lacks its end `{_ENDS[begin]}`" if begin else f"lacks its beginning `{_BEGINS[end]}`"
        yield Mistake(path, f"holds `{found[0]}`, a placeholder that {lack}", "write the value in its place")


def _mistake(path: str, found: list[tuple[str, str]]) -> Mistake:
    written = ", ".join(f"`{text}`" for text, _ in found)
    values = " ".join(f"--parameters {_quoted(f'{name}=VALUE')}" for name in dict.fromkeys(name for _, name in found))
    kind = "placeholder" if len(found) == 1 else "placeholders"
    way = "give it a value" if len(found) == 1 else "give them values"
    return Mistake(path, f"still holds the {kind} {written}", f"replace it in the file, or {way}: {values}")


def _quoted(text: str) -> str:
    return f"'{text}'" if " " in text else text
