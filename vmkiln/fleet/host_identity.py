"""What a host tells of itself to the fleet when it starts."""

import platform
import socket
from dataclasses import dataclass, field

ARCHITECTURES = {"x86_64": "x64", "aarch64": "Arm64"}  # the kernel's words, and Azure's
LEASE_SECONDS = 60.0


@dataclass(frozen=True)
class HostIdentity:
    """What a host tells of itself when it starts. `lease_seconds` without a renewal, and it is given up for dead.

    One without a region takes runs of every region. `takes_runs` is false for a service that only serves.
    """

    name: str = field(default_factory=socket.gethostname)
    region: str = ""
    lease_seconds: float = LEASE_SECONDS
    takes_runs: bool = True
    architecture: str = field(default_factory=lambda: ARCHITECTURES.get(platform.machine(), platform.machine()))
