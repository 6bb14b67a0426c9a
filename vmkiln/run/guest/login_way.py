"""Which way to log in to a Windows image a run takes, and what it says of how far that image is proven."""

from collections.abc import Mapping
from dataclasses import dataclass

from vmkiln.store.database import Store
from vmkiln.store.gates.verdict_table import VerdictRow
from vmkiln.windows.login_tag import Hook, gate_of, told_way
from vmkiln.windows.proven import UNPROVEN


@dataclass(frozen=True)
class LoginWay:
    """The way, and the check that found it; none when nobody has logged in to this image that way."""

    hook: Hook
    check: VerdictRow | None = None

    @property
    def notice(self) -> str:
        """What the run's log says: that nothing is proven, or what is."""
        if self.check is None:
            return UNPROVEN
        return (
            f"run {self.check.run_id[:8]} has logged in to this image on {self.check.made:%Y-%m-%d}; how builds of "
            "Windows end is proven by nobody yet (docs/windows.md)"
        )


def login_way_of(store: Store, digest: str, tags: Mapping[str, str]) -> LoginWay:
    """The way that a template's tag names, else the one that a check of its image found, else the first.

    `digest` is the image's.
    """
    told = told_way(tags)
    for hook in Hook if told is None else (told,):
        if (check := store.verdicts.known(gate_of(hook), digest)) is not None:
            return LoginWay(hook, check)
    return LoginWay(told or Hook.SETUP_COMPLETE)
