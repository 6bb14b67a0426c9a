"""The options of commands that make this machine a build host."""

from dataclasses import replace
from typing import Annotated

import typer

from vmkiln.fleet.host_identity import HostIdentity

NameOption = Annotated[str, typer.Option(help="What this host is called in the fleet; its host name when left out.")]
RegionOption = Annotated[str, typer.Option(help="Takes only templates of this location; any when left out.")]
LeaseOption = Annotated[
    float, typer.Option(help="Seconds without a word from it, and it is given up for dead.", min=2.0)
]


def identity_of(name: str, region: str, *, lease_seconds: float, takes_runs: bool = True) -> HostIdentity:
    """What this host is to be called and to take; pure, but for the machine's own name."""
    found = HostIdentity(region=region, lease_seconds=lease_seconds, takes_runs=takes_runs)
    return replace(found, name=name) if name else found
