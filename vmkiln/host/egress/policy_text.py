"""The egress policy as people write it: `open`, `none`, or names with ports and named sets; pure.

    none
    @debian packages.example.org *.example.net:443 apt.example.com:8080+8443

Entries are parted by commas, spaces or lines; what follows `#` on a line is a remark.
"""

import re
from collections.abc import Iterable

from vmkiln.errors import InputError
from vmkiln.host.egress.egress_policy import (
    NO_EGRESS,
    OPEN_EGRESS,
    AllowedName,
    EgressMode,
    EgressPolicy,
    is_public_resolver,
    plain_name,
)
from vmkiln.host.egress.named_sets import named_sets

MOST_ENTRIES = 1000
MOST_PORTS = 16
NAME_PORTS = {53: "names are asked of the run's own resolver", 853: "names are asked of the run's own resolver"}
SYNTAX = "write open, none, or names: packages.example.org *.example.net:443 @debian (docs/egress.md)"


def read_policy(text: str) -> tuple[EgressPolicy, tuple[str, ...]]:
    """The policy that a text asks for, and every mistake in it; the policy counts only without mistakes.

    An empty text asks for nothing: `open`.
    """
    words = [word for line in text.splitlines() for word in re.split(r"[,\s]+", line.partition("#")[0]) if word]
    modes = {word.lower() for word in words} & {"open", "none", "allow-list"}
    if modes and len(words) > 1:
        return OPEN_EGRESS, (f"`{min(modes)}` stands alone, and is followed by no names",)
    if not words or modes == {"open"}:
        return OPEN_EGRESS, ()
    if modes == {"none"}:
        return NO_EGRESS, ()
    if modes:
        return OPEN_EGRESS, ("`allow-list` is what names ask for by themselves: write the names",)
    if len(words) > MOST_ENTRIES:
        return OPEN_EGRESS, (f"has {len(words)} entries; at most {MOST_ENTRIES} are allowed",)
    names: list[AllowedName] = []
    mistakes: list[str] = []
    for word in words:
        found, mistake = _entry(word)
        names += found
        if mistake:
            mistakes.append(f"`{word[:80]}` {mistake}")
    return EgressPolicy(EgressMode.ALLOW_LIST, (tuple(dict.fromkeys(names)),)), tuple(dict.fromkeys(mistakes))


def checked_policy(texts: Iterable[str], *, where: str) -> EgressPolicy:
    """The policy of texts that belong together, as several options do. Raises: `InputError` with every mistake."""
    policy, mistakes = read_policy("\n".join(texts))
    if mistakes:
        raise InputError(f"{where}: {'; '.join(mistakes)}", hint=SYNTAX)
    return policy


def _entry(word: str) -> tuple[tuple[AllowedName, ...], str]:
    """What an entry allows, and what is wrong with it."""
    if word.startswith("@"):
        found = named_sets().get(word[1:].lower())
        return (
            (found.names, "") if found else ((), f"is no set; there are {', '.join('@' + one for one in named_sets())}")
        )
    text, colon, port_text = word.partition(":")
    ports, mistake = _ports(port_text) if colon else ((), "")
    if mistake:
        return (), mistake
    is_pattern = text.startswith("*.")
    name = plain_name(text[2:] if is_pattern else text)
    if not name:
        return (), _why_no_name(text, is_pattern=is_pattern)
    if is_public_resolver(name):
        return (), "is a public resolver: whoever reaches it gets round the list"
    allowed = (
        AllowedName(f"*.{name}" if is_pattern else name, ports)
        if ports
        else AllowedName(f"*.{name}" if is_pattern else name)
    )
    return (allowed,), ""


def _why_no_name(text: str, *, is_pattern: bool) -> str:
    if re.fullmatch(r"[0-9.]+", text) or "[" in text:
        return "is an address: a list has names; a private network is allowed by --allow-egress"
    if "/" in text:
        return "is no name of a host: leave out the scheme and the path"
    if "*" in (text[2:] if is_pattern else text):
        return "has a star elsewhere than as its whole first label, as in *.example.org"
    if is_pattern:
        return "is too wide: a pattern has two labels or more after the star"
    if not text.isascii():
        try:
            return f"is written as `{text.encode('idna').decode()}`"
        except UnicodeError:
            pass
    return "is no name of a host with a dot in it"


def _ports(text: str) -> tuple[tuple[int, ...], str]:
    words = text.split("+")
    if not all(re.fullmatch(r"[0-9]{1,5}", word) and 0 < int(word) < 65536 for word in words):
        return (), "has no ports after its colon, such as 443 or 80+443"
    ports = tuple(sorted({int(word) for word in words}))
    if len(ports) > MOST_PORTS:
        return (), f"has {len(ports)} ports; at most {MOST_PORTS} are allowed"
    for port in ports:
        if port in NAME_PORTS:
            return (), f"has port {port}: {NAME_PORTS[port]}"
    return ports, ""


def policy_sentence(policy: EgressPolicy) -> str:
    """The policy in one sentence, for the plan."""
    match policy.mode:
        case EgressMode.OPEN:
            return "egress policy: open; any name, as on Azure"
        case EgressMode.NONE:
            return "egress policy: none; no name is answered and nothing leaves"
    lists = "; of these only: ".join(", ".join(str(name) for name in each) for each in policy.lists)
    return f"egress policy: allow-list; only {lists} (ports 80 and 443 where none is named)"
