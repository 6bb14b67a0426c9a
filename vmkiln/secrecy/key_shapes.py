"""Keys that are known by their shape alone, wherever they stand; pure.

Each shape is what its maker publishes: signatures of shared access (Azure Storage, "Create a service SAS"), account
keys (64 bytes in base64), signatures of AWS and Google in URLs, tokens (RFC 7519; GitHub, GitLab, Slack, npm, PyPI,
AWS, Google for scanners of secrets), private keys in PEM (RFC 7468). What is around the secret part stays readable.
"""

import re
from dataclasses import dataclass

from vmkiln.secrecy.late_pattern import LatePattern

Span = tuple[int, int]
# how `=` and `:` with their quotes are written, in URLs, JSON and HTML, and encoded once more
_EQUALS = r"(?:=|%(?:25){0,3}3d|\\{1,4}u003d|&\#61;|&\#x3d;)"
_QUOTE = r"(?:\\{0,8}[\"']|%(?:25){0,3}2[27]|&quot;|&\#3[49];|\\{1,4}u002[27])"
_IS = rf"(?:{_EQUALS}{_QUOTE}?|{_QUOTE}?\s{{0,4}}(?::|%(?:25){{0,3}}3a)\s{{0,4}}{_QUOTE})"
_VALUE = r"(?:(?!%(?:25){0,3}26)[^\s&;,\"'<>\\*]){1,4096}"
LONGEST_SHAPE = 4096 + 128


@dataclass(frozen=True)
class Shape:
    """A pattern whose group `secret` is the secret, and a word in small letters that every match has in it."""

    word: str
    pattern: LatePattern
    needs: LatePattern | None = None  # what is quicker to look for, where the word alone is in many texts


def _shape(word: str, pattern: str, needs: str = "") -> Shape:
    return Shape(word, LatePattern(pattern, re.IGNORECASE | re.DOTALL), LatePattern(needs) if needs else None)


SHAPES = (
    _shape("sig", rf"(?<![a-z])sig{_IS}(?P<secret>{_VALUE})", needs="sig[^a-z]"),
    _shape("signature", rf"x-(?:amz|goog|ms)-signature{_IS}(?P<secret>{_VALUE})"),
    _shape("security-token", rf"x-(?:amz|goog)-security-token{_IS}(?P<secret>{_VALUE})"),
    _shape(
        "key",
        rf"(?:account|sharedaccess|shared-access-)key{_IS}(?P<secret>{_VALUE})",
        needs="(?:account|access|access-)key",
    ),
    _shape("secret_access_key", rf"aws_secret_access_key\s{{0,4}}{_IS}\s{{0,4}}(?P<secret>{_VALUE})"),
    _shape("bearer", r"\bbearer(?:\s{1,4}|%20|\+)(?P<secret>[\w.~+/=-]{8,8192})"),
    _shape("sharedkey", r"\bsharedkey(?:lite)?\s[\w-]{1,64}:(?P<secret>[\w+/=-]{8,512})"),
    _shape("eyj", r"(?<![\w-])(?P<secret>eyJ[\w-]{8,8192}\.[\w-]{4,8192}(?:\.[\w-]{0,8192})?)"),
    _shape("==", r"(?<![\w+/])(?P<secret>[\w+/]{86}==)"),
    _shape(
        "private key",
        r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----(?P<secret>.{0,16384}?)"
        r"(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY|\Z)",
    ),
    _shape("gh", r"(?<!\w)(?P<secret>gh[pousr]_\w{16,255})", needs="gh[pousr]_"),
    _shape("github_pat_", r"(?<!\w)(?P<secret>github_pat_\w{16,255})"),
    _shape("glpat-", r"(?P<secret>glpat-[\w-]{16,255})"),
    _shape("xox", r"(?<!\w)(?P<secret>xox[abeoprs]-[\w-]{8,255})"),
    _shape("aiza", r"(?<!\w)(?P<secret>AIza[\w-]{30,60})"),
    _shape("npm_", r"(?<!\w)(?P<secret>npm_\w{30,60})"),
    _shape("pypi-", r"(?<!\w)(?P<secret>pypi-[\w-]{40,512})"),
    _shape("vmk_", r"(?<!\w)(?P<secret>vmk_[\w-]{8,255})"),
    _shape("akia", r"(?<!\w)(?P<secret>(?-i:AKIA[A-Z0-9]{16}))(?!\w)"),
    _shape("asia", r"(?<!\w)(?P<secret>(?-i:ASIA[A-Z0-9]{16}))(?!\w)"),
)


def shaped_spans(text: str, lowered: str) -> list[Span]:
    """Where the secret parts of known shapes stand; `lowered` is the same text in small letters."""
    found: list[Span] = []
    for shape in SHAPES:
        if shape.word in lowered and (shape.needs is None or shape.needs.search(lowered)):
            found += [place.span("secret") for place in shape.pattern.finditer(text) if place["secret"]]
    return found
