"""The statement beside an exported image: the image's own, or one about the file in its other format.

A file in another format has another digest. What wrote it is this program, from a file that was verified; so the
statement says the same of one more file, and is signed anew. That holds where nobody else could put another file into
its place before it was read again, so nothing is signed about a file in a folder of somebody else's.
"""

import grp
import os
import pwd
import stat
from pathlib import Path

from vmkiln.files.durable_file import write_whole
from vmkiln.images.image_store import sha256_of
from vmkiln.provenance import image_key
from vmkiln.provenance.documents import SUFFIX
from vmkiln.provenance.envelope import signed
from vmkiln.provenance.statement import Subject, with_subject
from vmkiln.provenance.verification import verify
from vmkiln.sealing.key_ring import KeyRing
from vmkiln.store.rows import ImageRow


def beside(file: Path) -> Path:
    """Where the statement about an exported file is."""
    return file.with_name(f"{file.name}{SUFFIX}")


def write_beside(image: ImageRow, envelope: str, exported: Path, ring: KeyRing) -> Path | None:
    """Write the statement about an exported image beside it; returns where, or none where others may have changed it.

    Raises: `ProvenanceRefused` when the image is not what its statement says, `KeyUnavailable`, `StorageFailed`.
    """
    verdict = verify({image.path.name: image.digest}, envelope, image_key.public_keys(ring))
    digest = sha256_of(exported)
    if digest != image.digest:
        if shared_folder(exported) is not None:
            return None
        told = with_subject(verdict.statement, Subject(exported.name, digest))
        envelope = signed(told, image_key.current(ring))
    write_whole(beside(exported), f"{envelope}\n".encode(), mode=0o644)
    return beside(exported)


def shared_folder(file: Path) -> Path | None:
    """The folder on the way to a file in which others than this user and root may put another in its place, or none."""
    return next((folder for folder in file.resolve().parents if _is_shared(folder.stat())), None)


def _is_shared(folder: os.stat_result) -> bool:
    if folder.st_uid not in {0, os.geteuid()}:
        return True
    if folder.st_mode & stat.S_ISVTX:  # as /tmp: what lies there is its owner's
        return False
    return bool(folder.st_mode & stat.S_IWOTH) or (
        bool(folder.st_mode & stat.S_IWGRP) and not _is_own_group(folder.st_gid)
    )


def _is_own_group(group_id: int) -> bool:
    """Whether a group is this user's alone, as many distributions give each user one of the same name."""
    try:
        group, user = grp.getgrgid(group_id), pwd.getpwuid(os.geteuid())
    except KeyError:
        return False
    return group_id == 0 or (group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name})
