"""What a command says of what another host of the fleet has on its disk, and this one has not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmkiln.errors import InputError

if TYPE_CHECKING:
    from vmkiln.settings import Settings
    from vmkiln.store.database import Store
    from vmkiln.store.rows import RunRow

LOGIN = ", or log in to the service (`vmkiln login`), which leads you into it"


def is_another(settings: Settings, host: str) -> bool:
    """Whether this is the id of a host other than this one."""
    from vmkiln.host.host_id import host_id

    return bool(host) and host != host_id(settings)


def name_of(store: Store, host: str) -> str:
    """What a host is called, for whoever has to go there: its id where it has no name any more."""
    from vmkiln.harmless_text import harmless

    return next((harmless(row.name) for row in store.hosts.all() if row.host_id == host and row.name), host)


def held_elsewhere(settings: Settings, run: RunRow) -> str:
    """The id of the other host that has the failed VM of a run, on its disk or running; '' when none has."""
    if not run.held_until:
        return ""
    kept = run.facts.get("lease")
    host = str(kept["host_id"] if kept else run.facts.get("host_id", ""))
    return host if is_another(settings, host) else ""


def lies_elsewhere(store: Store, what: str, host: str, *, more: str = "") -> InputError:
    """The error for what only that host has; `more` is what else helps."""
    name = name_of(store, host)
    return InputError(f"{what} lies on another host, {name}", hint=f"run the same command on {name}{more}")
