"""The id of this host, which stays with its state directory, and what tells its machine from another.

*Leaves behind:* the file `host-id` (mode 0600). *Undone by:* deleting it, when nothing runs. *Safe to repeat:* yes.
Source: machine-id(5): images of machines are cloned with it, so it does not tell them apart alone; random(4), boot_id:
another in each boot of each machine, the same in all containers of one.
"""

import socket
import uuid
from dataclasses import dataclass
from pathlib import Path

from vmkiln.files.durable_file import make_folder, sync, write_whole
from vmkiln.settings import Settings

MACHINE_ID = Path("/etc/machine-id")
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


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
class Machine:
    """A state directory on a machine that is up: the machine's name and ids, and the folder's own number there."""

    name: str
    machine_id: str
    boot_id: str
    folder: str

    @property
    def mark(self) -> str:
        """All of it in one text; another on another machine, after a restart of it, and for a copy of the folder."""
        return " ".join((self.name, self.machine_id, self.boot_id, self.folder))


def machine_of(home: Path) -> Machine:
    """This machine, with a state directory, which exists."""
    there = home.stat()
    return Machine(socket.gethostname(), _read(MACHINE_ID), _read(BOOT_ID), f"{there.st_dev}:{there.st_ino}")


def _read(path: Path) -> str:
    try:
        return path.read_text().strip() or "-"
    except OSError:
        return "-"
