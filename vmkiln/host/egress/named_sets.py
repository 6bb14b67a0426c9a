"""The named sets of the egress policy: what each distribution's packages come from, read from `named_sets.toml`."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

from vmkiln.host.egress.egress_policy import AllowedName


@dataclass(frozen=True)
class NamedSet:
    """A set: what it is, who says so (a page), the names it allows, and which of them are one mirror of many."""

    name: str
    about: str
    source: str
    names: tuple[AllowedName, ...]
    rotating: tuple[AllowedName, ...]

    def rotates(self, name: str) -> bool:
        """Whether a plain name is a mirror in whose place another may be named the next time."""
        return any(one.covers(name) for one in self.rotating)


@functools.cache
def named_sets() -> Mapping[str, NamedSet]:
    """Every set, by its name without the `@`."""
    import tomllib  # noqa: PLC0415 (few policies name a set)

    text = resources.files("vmkiln.host.egress").joinpath("named_sets.toml").read_text()
    return {
        name: NamedSet(
            name,
            found["about"],
            found["source"],
            _names([*found["names"], *found["rotating"]]),
            _names(found["rotating"]),
        )
        for name, found in tomllib.loads(text).items()
    }


def _names(texts: list[str]) -> tuple[AllowedName, ...]:
    found = []
    for text in texts:
        name, _, ports = text.partition(":")
        found.append(AllowedName(name, tuple(int(port) for port in ports.split("+"))) if ports else AllowedName(name))
    return tuple(found)
