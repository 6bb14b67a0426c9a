"""The id of this host, which stays with its state directory.

*Leaves behind:* the file `host-id` (mode 0600). *Undone by:* deleting it, when nothing runs. *Safe to repeat:* yes.
"""

import uuid

from vmkiln.files.durable_file import make_folder, sync, write_whole
from vmkiln.settings import Settings


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
