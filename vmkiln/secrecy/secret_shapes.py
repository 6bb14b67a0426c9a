"""Secrets that nobody named, known by how they stand in a text: what is not known to be harmless is masked.

Of a URL are shown its scheme, host, port and path, and of its query the parameters named here; of headers, variables,
options and members that carry a secret by their name, the name. More is masked than is secret, never less: `password`
and the word behind it in a sentence, too.
Source: RFC 3986 (URLs), RFC 9110, section 11 (Authorization), libpq's and Azure's connection strings, the forms of
tokens that GitHub, GitLab, Slack, Google and AWS publish for scanners of secrets.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote_plus

from vmkiln.secrecy.late_pattern import LatePattern
from vmkiln.secrecy.secret_mask import MASK

# what a variable, an option, a member or a parameter is called when its value is a secret
_WORDS = (
    r"secret|passw|passwd|passphrase|passcode|pwd|token|credential|connection[-_ ]?string|signature|cookie|private"
    r"|auth(?!or\b|ors\b|orit)|(?<=[-_])sas\b|\bsas\b|\bsig\b|headers\b"
    r"|(?:api|access|account|storage|shared|master|signing|encryption|subscription)[-_ ]?keys?(?![a-z])"
    r"|(?<=[-_])keys?(?![a-z])|(?-i:(?<=[a-z0-9])Keys?(?![a-z]))"
)
SECRET_NAME = LatePattern(_WORDS, re.IGNORECASE)
HARMLESS_PARAMETERS = frozenset(
    {
        "$expand", "$filter", "$select", "$skiptoken", "$top", "api-version", "application_name", "connect_timeout",
        "dbname", "host", "hostaddr", "port", "se", "si", "skoid", "sks", "skt", "sktid", "skv", "sp", "spr", "sr",
        "sslmode", "st", "sv", "target_session_attrs", "timeout", "version",
    }
)  # fmt: skip
# Logs have lines of many megabytes: no pattern begins with what may be long, and what stands in between is limited.
_URL = LatePattern(r"\b[a-z][a-z0-9+.-]{0,20}://[^\s\"'<>\\`]+", re.IGNORECASE)
_REST = r"[\w.$%-]{0,60}"
_NAME = rf"(?:{_WORDS}){_REST}"
_QUOTED = (
    r"""(?P<quote>["'`])(?:\\.|(?!(?P=quote)).)*(?:(?P=quote)|$)"""
    r"""|(?P<escaped>\\{1,8}["'`])(?:(?!(?P=escaped)).)*(?:(?P=escaped)|$)"""
)
_IN_BRACKETS = r"\[[^\]]*(?:\]|\Z)|\{[^}]*(?:\}|\Z)"
# `name: |` of YAML and all lines below that are further in
_BLOCK = LatePattern(
    rf"^(?P<kept>(?P<indent>[ \t]{{0,80}})(?:- )?[\"']?[\w.-]{{0,60}}?{_NAME}[\"']?[ \t]*:[ \t]*[|>][-+0-9]*[ \t]*\n)"
    r"(?P<block>(?:(?P=indent)[ \t]+[^\n]*(?:\n|\Z)|[ \t]*\n)+)",
    re.IGNORECASE | re.MULTILINE,
)
# `name=value` and `name: value`, the value quoted, in brackets, up to the line's end behind `: `, else a word
_WITH_VALUE = LatePattern(
    rf"(?P<kept>{_NAME}\\{{0,8}}[\"'`]?(?:[ \t]{{0,9}}=>?[ \t]{{0,9}}|[ \t]{{0,9}}:[ \t]+|[ \t]{{0,9}}:(?=\S)))"
    rf"(?:{_QUOTED}|{_IN_BRACKETS}|(?<=:[ \t])[^\n]+|[^\s;,&\"'`]+)",
    re.IGNORECASE | re.MULTILINE,
)
# what may have spaces and commas in it and ends with a semicolon, in a connection string
_IN_CONNECTION_STRING = LatePattern(
    rf"(?P<kept>(?P<first>^)?(?(first)|;)[\w \t]{{0,60}}?{_NAME}[ \t]{{0,9}}=)[^;\n\"']+(?(first)(?=;)|(?=;|$))",
    re.IGNORECASE | re.MULTILINE,
)
_OPTION = LatePattern(rf"(?P<kept>(?<![\w-])--?[\w.-]{{0,60}}?{_NAME}[ \t]+)(?:{_QUOTED}|[^\s\"']+)", re.IGNORECASE)
_ELEMENT = LatePattern(rf"(?P<kept><[\w:.-]{{0,60}}?{_NAME}[^>\n]{{0,200}}>)[^<]+", re.IGNORECASE)
_SCHEME = LatePattern(
    r"(?P<kept>\b(?:bearer|basic|sharedkey(?:lite)?|negotiate|digest)[ \t]+)[^\s\"',;]+", re.IGNORECASE
)
_USER_IN_PROXY = LatePattern(r"(?P<kept>proxy\\{0,8}[\"']?[ \t]*[:=][ \t]*[\"']?)[^\s\"'@]{1,300}@", re.IGNORECASE)
_PRIVATE_KEY = LatePattern(
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|\Z)",
    re.DOTALL,
)
_TOKENS = LatePattern(
    r"\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*|\bvmk_[\w-]{8,}|\bgh[pousr]_\w{16,}|\bgithub_pat_\w{16,}|\bglpat-[\w-]{16,}"
    r"|\bxox[abeoprs]-[\w-]{8,}|\bAIza[\w-]{30,}|\b(?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{12,}"
)


def without_secrets(text: str) -> str:
    """The text without what looks like a secret; pure."""
    text = _PRIVATE_KEY.sub(MASK, text)
    text = _URL.sub(lambda found: shown_url(found[0]), text)
    text = _BLOCK.sub(rf"\g<kept>\g<indent>  {MASK}\n", text)
    text = _USER_IN_PROXY.sub(rf"\g<kept>{MASK}@", text)
    for shape in (_SCHEME, _ELEMENT, _IN_CONNECTION_STRING, _OPTION, _WITH_VALUE):
        text = shape.sub(rf"\g<kept>{MASK}", text)
    return _TOKENS.sub(MASK, text)


def value_without_secrets(value: Any, mask: Callable[[str], str] = without_secrets, *, is_secret: bool = False) -> Any:
    """Plain data without secrets: a member whose name says so is one, with all that is below it.

    So is the value beside a name (`{"name": "DB_PASSWORD", "value": ...}`), and the word behind an option.
    """
    if isinstance(value, Mapping):
        named = any(
            isinstance(name, str) and name.lower() in {"name", "key"} and SECRET_NAME.search(str(item))
            for name, item in value.items()
        )
        return {
            mask(str(name)): value_without_secrets(
                item,
                mask,
                is_secret=is_secret
                or bool(SECRET_NAME.search(unquote_plus(str(name))))
                or (named and str(name).lower().endswith("value")),
            )
            for name, item in value.items()
        }
    if isinstance(value, list | tuple):
        found, is_next = [], False
        for item in value:
            found.append(value_without_secrets(item, mask, is_secret=is_secret or is_next))
            is_next = isinstance(item, str) and item.startswith("-") and "=" not in item and _says_so(item)
        return found
    if isinstance(value, bool) or value is None:
        return value
    if is_secret and str(value):
        return MASK
    return mask(value) if isinstance(value, str) else value


def _says_so(name: str) -> bool:
    return SECRET_NAME.search(unquote_plus(name)) is not None


def shown_url(text: str) -> str:
    """A URL with no more than what is known to be harmless: nobody who logs in, no other parameters, no fragment; pure.

    A password may have any letter in it, also such as end a host, so what stands before the last `@` is never shown.
    """
    scheme, _, rest = text.partition("://")
    _, login, rest = rest.rpartition("@")
    rest, fragment, _ = rest.partition("#")
    place, question, query = rest.partition("?")
    found = f"{scheme}://{MASK if login else ''}{login}{place}{question}"
    if question:
        found += "&".join(map(_shown_parameter, query.split("&")))
    return f"{found}#{MASK}" if fragment else found


def _shown_parameter(text: str) -> str:
    name, equals, _ = text.partition("=")
    if unquote_plus(name).lower() in HARMLESS_PARAMETERS:
        return text
    shown = name if re.fullmatch(r"[\w.$-]{1,40}", name) and equals else MASK
    return f"{shown}={MASK}" if equals else shown
