"""The options of commands that make this machine a build host. One that is left out is as the settings say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vmkiln.setting_texts.declaration import LogFormat
from vmkiln.settings import Settings

if TYPE_CHECKING:
    from vmkiln.fleet.host_identity import HostIdentity

DataOption = Annotated[
    Path | None, typer.Option("--data", help="The state directory; $VMKILN_HOME when left out.", file_okay=False)
]
NameOption = Annotated[
    str | None, typer.Option(help="What this host is called in the fleet; its host name when left out.")
]
RegionOption = Annotated[str | None, typer.Option(help="Takes only templates of this location; any when left out.")]
LeaseOption = Annotated[
    float | None, typer.Option(help="Seconds without a word from it, and it is given up for dead; 60 if not set.")
]
LogFormatOption = Annotated[LogFormat | None, typer.Option(help="Lines for people, or one JSON object a line.")]


def identity_of(settings: Settings, *, takes_runs: bool = True) -> HostIdentity:
    """What this host is to be called and to take; pure, but for the machine's own name."""
    from vmkiln.fleet.host_identity import HostIdentity

    found = HostIdentity(region=settings.region, lease_seconds=settings.lease_seconds, takes_runs=takes_runs)
    return replace(found, name=settings.host_name) if settings.host_name else found
