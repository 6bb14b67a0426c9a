"""What a host tells of itself to the fleet when it starts."""

import platform
import socket
from dataclasses import dataclass, field

from vmkiln.azure_names import Architecture

ARCHITECTURES = {"x86_64": Architecture.X64, "aarch64": Architecture.ARM64}  # the kernel's words, and Azure's
LEASE_SECONDS = 60.0


@dataclass(frozen=True)
class HostIdentity:
    """What a host tells of itself when it starts. `lease_seconds` without a renewal, and it is given up for dead.

    One without a region takes runs of every region. `takes_runs` is false for a service that only serves. One that
    `is_embedded` is a command that answers in its own process: it begins what it was asked for, and nothing else.
    """

    name: str = field(default_factory=socket.gethostname)
    region: str = ""
    lease_seconds: float = LEASE_SECONDS
    takes_runs: bool = True
    is_embedded: bool = False
    architecture: str = field(default_factory=lambda: ARCHITECTURES.get(platform.machine(), platform.machine()))
