"""An egress policy's list, written from what a build reached: learn in an open run, then lock the next; pure.

What a locked run would refuse all the same stands in the list as a remark. A mirror in whose place another may be
named the next time becomes its whole set, and a remark says so.
"""

from collections.abc import Iterable
from typing import Protocol

from vmkiln.host.egress.egress_policy import WEB_PORTS, AllowedName, is_public_resolver, plain_name
from vmkiln.host.egress.named_sets import NamedSet, named_sets
from vmkiln.host.egress.policy_text import MOST_ENTRIES, MOST_PORTS, NAME_PORTS

MOST_REMARKS = 200
SHOWN_LETTERS = 100
# what listens there says the first word, or speaks neither TLS nor HTTP: the name proxy cannot name it
UNNAMED_PORTS = {21: "FTP", 22: "ssh", 25: "SMTP", 873: "rsync", 9418: "git's own protocol"}


class Flow(Protocol):
    """What was reached, or refused: the name that was asked for it ('' for none), where it is, what became of it."""

    @property
    def name(self) -> str:
        """The name, '' for none."""

    @property
    def address(self) -> str:
        """The address, in dotted form."""

    @property
    def port(self) -> int:
        """The port; 0 for protocols without."""

    @property
    def protocol(self) -> str:
        """tcp, udp, icmp; dns for a question."""

    @property
    def verdict(self) -> str:
        """`allowed`, or what it was refused for."""


def learned_list(flows: Iterable[Flow], *, unseen: str = "") -> str:
    """The list as a text that `--egress` takes, one entry a line; `none` when nothing was reached by name.

    `unseen` is the first remark, where these are not all flows.
    """
    ports: dict[str, set[int]] = {}
    remarks: dict[str, None] = {unseen: None} if unseen else {}
    for flow in flows:
        if flow.protocol.lower() == "dns":
            continue  # asked for: whether it was reached stands in its own entry
        name = plain_name(flow.name)
        if remark := _remark(flow, name):
            remarks[remark] = None
        else:
            ports.setdefault(name, set()).add(flow.port)
    lines: list[str] = []
    widened: dict[str, NamedSet] = {}
    for name in sorted(ports):
        found = next((one for one in named_sets().values() if one.rotates(name)), None)
        if found is not None and ports[name] <= set(WEB_PORTS):
            widened[found.name] = found
            remarks[f"{name} is one mirror of many: @{found.name} is in its place"] = None
    for name in sorted(ports):
        left = ports[name] - _covered(name, widened.values())
        lines += _entries(name, sorted(left))
    entries = [*(f"@{name}" for name in sorted(widened)), *lines]
    if len(entries) > MOST_ENTRIES:
        remarks[f"{len(entries) - MOST_ENTRIES} more names were reached than a list may have"] = None
    shown = [f"# {remark}" for remark in list(remarks)[:MOST_REMARKS]]
    if len(remarks) > MOST_REMARKS:
        shown.append(f"# and {len(remarks) - MOST_REMARKS} more remarks")
    return "\n".join([*shown, *(entries[:MOST_ENTRIES] or ["none"])]) + "\n"


def _covered(name: str, sets: Iterable[NamedSet]) -> frozenset[int]:
    return frozenset(port for one in sets for allowed in one.names if allowed.covers(name) for port in allowed.ports)


def _entries(name: str, ports: list[int]) -> list[str]:
    """A name with its ports, in as many entries as it takes."""
    pieces = [tuple(ports[at : at + MOST_PORTS]) for at in range(0, len(ports), MOST_PORTS)]
    return [str(AllowedName(name, piece)) for piece in pieces]


def _remark(flow: Flow, name: str) -> str:
    """Why a flow is no entry of a list; '' when it is one."""
    place = f"{_safe(flow.name) or flow.address}:{flow.port}" if flow.port else _safe(flow.name) or flow.address
    if flow.verdict != "allowed":
        return f"{place} was {_safe(flow.verdict)}"
    if flow.protocol.lower() != "tcp":
        return f"{place} was reached by {_safe(flow.protocol)}, which a locked run refuses"
    if not name:
        return f"{place} was reached without a name, which a locked run refuses"
    if is_public_resolver(name) or flow.port in NAME_PORTS:
        return f"{place} answers names, which only the resolver of a locked run does"
    if flow.port in UNNAMED_PORTS:
        return f"{place} is {UNNAMED_PORTS[flow.port]}, which a locked run refuses: only TLS and HTTP pass"
    return "" if 0 < flow.port < 65536 else f"{place} has no port"


def _safe(text: str) -> str:
    """A guest's text that can end neither its line nor its remark."""
    return "".join(letter if letter.isascii() and letter.isprintable() else "?" for letter in text[:SHOWN_LETTERS])
