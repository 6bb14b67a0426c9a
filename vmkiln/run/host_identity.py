"""Who this host is: an id that stays with the state directory, and a new one for each start.

*Leaves behind:* the file `host-id` (mode 0600). *Undone by:* deleting it, when nothing runs. *Safe to repeat:* yes.
"""

import platform
import socket
import uuid
from dataclasses import dataclass, field

from vmkiln.durable_file import make_folder, sync, write_whole
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
    make_folder(settings.home)
    temporary = path.with_name(f".host-id-{uuid.uuid4()}")
    try:
        write_whole(temporary, str(uuid.uuid4()).encode())
        path.hardlink_to(temporary)  # the first one wins, whole
    except FileExistsError:
        pass
    finally:
        temporary.unlink(missing_ok=True)
    sync(settings.home)
    return path.read_text().strip()


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
