"""Who this host is: an id that stays with the state directory, and a new one for each start.

*Leaves behind:* the file `host-id` (mode 0600). *Undone by:* deleting it, when nothing runs. *Safe to repeat:* yes.
"""

import os
import platform
import socket
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from vmkiln.settings import Settings

ARCHITECTURES = {"x86_64": "x64", "aarch64": "Arm64"}  # the kernel's words, and Azure's
LEASE_SECONDS = 60.0


def host_id(settings: Settings) -> str:
    """The id of a state directory's host, made when there is none."""
    path = settings.home / "host-id"
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        pass
    settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".host-id-{uuid.uuid4()}")
    try:
        _write(temporary, str(uuid.uuid4()))
        path.hardlink_to(temporary)  # the first one wins, whole
    except FileExistsError:
        pass
    finally:
        temporary.unlink(missing_ok=True)
    return path.read_text().strip()


def _write(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)


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
