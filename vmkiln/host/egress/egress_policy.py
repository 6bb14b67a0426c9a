"""Which names a build may reach, and on which TCP ports: decided from frozen values, whoever asks; pure.

`open` is any name, as on Azure; `none` is no name; `allow-list` is what every one of its lists covers. Lists come from
the operator, the command and the template: each can only take away from the others. This module needs the standard
library alone, for it is asked inside the jails of the name proxy and of the resolver too.
Sources: RFC 1034 3.1 (names); RFC 7858 (DNS over TLS), RFC 8484 (DNS over HTTPS).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

WEB_PORTS = (80, 443)
MOST_NAME_LETTERS = 253
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})+")
# Resolvers that anybody may use, whose names would be a way round the list: no pattern covers them or what is below
# them, and no list may name them. From the resolvers that browsers and systems offer to choose from.
PUBLIC_RESOLVERS = frozenset(
    {
        "adguard-dns.com", "blahdns.com", "chrome.cloudflare-dns.com", "cleanbrowsing.org", "cloudflare-dns.com",
        "cloudflare-gateway.com", "controld.com", "dns.adguard.com", "dns.alidns.com", "dns.cloudflare.com",
        "dns.digitale-gesellschaft.ch", "dns.google", "dns.google.com", "dns.mullvad.net", "dns.nextdns.io",
        "dns.quad9.net", "dns.sb", "dns.switch.ch", "dns0.eu", "dns10.quad9.net", "dns11.quad9.net", "dns64.dns.google",
        "dns9.quad9.net", "doh.dns.apple.com", "doh.opendns.com", "doh.pub", "doh.xfinity.com", "freedns.controld.com",
        "mozilla.cloudflare-dns.com", "nextdns.io", "odoh.cloudflare-dns.com", "one.one.one.one", "opendns.com",
        "quad9.net",
    }
)  # fmt: skip


class EgressMode(StrEnum):
    """Any name, the names of the lists, no name."""

    OPEN = "open"
    ALLOW_LIST = "allow-list"
    NONE = "none"


def plain_name(text: str) -> str:
    """A host's name in small letters without its last dot; '' for what is no name of at least two labels."""
    name = text.lower().removesuffix(".")
    is_name = len(name) <= MOST_NAME_LETTERS and _NAME.fullmatch(name) and not re.fullmatch(r"[0-9.]+", name)
    return name if is_name else ""


def is_public_resolver(name: str) -> bool:
    """Whether a plain name is of a resolver that anybody may use, or below one."""
    labels = name.split(".")
    return any(".".join(labels[at:]) in PUBLIC_RESOLVERS for at in range(len(labels)))


@dataclass(frozen=True)
class AllowedName:
    """A name, or `*.` and a name for all that is below it but not itself, with the TCP ports it may be reached on."""

    name: str
    ports: tuple[int, ...] = WEB_PORTS

    def covers(self, name: str) -> bool:
        """Whether a plain name is meant."""
        if not self.name.startswith("*."):
            return name == self.name
        return name.endswith(self.name[1:]) and not is_public_resolver(name)

    def __str__(self) -> str:
        """As it is written: the ports only where they are others than 80 and 443."""
        ports = "" if self.ports == WEB_PORTS else ":" + "+".join(str(port) for port in self.ports)
        return self.name + ports


@dataclass(frozen=True)
class EgressPolicy:
    """The mode, and the lists of a policy that has some: a name is allowed when each of them covers it."""

    mode: EgressMode = EgressMode.OPEN
    lists: tuple[tuple[AllowedName, ...], ...] = ()

    @property
    def is_open(self) -> bool:
        """Whether any name may be reached."""
        return self.mode is EgressMode.OPEN

    def allows_name(self, text: str) -> bool:
        """Whether a name may be asked for: there is a port on which it may be reached."""
        if self.mode is not EgressMode.ALLOW_LIST:
            return self.is_open
        name = plain_name(text)
        ports = [self._ports(one, name) for one in self.lists]
        return bool(name and ports and frozenset.intersection(*ports))

    def allows(self, text: str, port: int) -> bool:
        """Whether a name may be reached on a TCP port."""
        if self.mode is not EgressMode.ALLOW_LIST:
            return self.is_open
        name = plain_name(text)
        return bool(name and self.lists) and all(port in self._ports(one, name) for one in self.lists)

    @staticmethod
    def _ports(allowed: Sequence[AllowedName], name: str) -> frozenset[int]:
        return frozenset(port for one in allowed if one.covers(name) for port in one.ports)

    def described(self) -> dict[str, Any]:
        """For a message to a jailed program."""
        return {"mode": str(self.mode), "lists": [[[one.name, *one.ports] for one in each] for each in self.lists]}

    @classmethod
    def read(cls, described: Mapping[str, Any]) -> "EgressPolicy":
        """What `described` gave. Raises: `KeyError`, `ValueError` for another than that."""
        lists = tuple(
            tuple(AllowedName(str(name), tuple(int(port) for port in ports)) for name, *ports in each)
            for each in described["lists"]
        )
        return cls(EgressMode(described["mode"]), lists)


OPEN_EGRESS = EgressPolicy()
NO_EGRESS = EgressPolicy(EgressMode.NONE)


def strictest(policies: Sequence[EgressPolicy]) -> EgressPolicy:
    """What all of them allow: `none` wins over lists, lists over `open`, and of two lists only what both cover."""
    if any(policy.mode is EgressMode.NONE for policy in policies):
        return NO_EGRESS
    lists = tuple(dict.fromkeys(one for policy in policies for one in policy.lists))
    return EgressPolicy(EgressMode.ALLOW_LIST, lists) if lists else OPEN_EGRESS
