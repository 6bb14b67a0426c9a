"""The statement beside an exported image: the image's own, or one about the file in its other format.

A file in another format has another digest. What wrote it is this program, from a file that was verified; so the
statement says the same of one more file, and is signed anew.
"""

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


def write_beside(image: ImageRow, envelope: str, exported: Path, ring: KeyRing) -> Path:
    """Write the statement about an exported image beside it; returns where.

    Raises: `ProvenanceRefused` when the image is not what its statement says, `KeyUnavailable`, `StorageFailed`.
    """
    verdict = verify({image.path.name: image.digest}, envelope, image_key.public_keys(ring))
    digest = sha256_of(exported)
    if digest != image.digest:
        told = with_subject(verdict.statement, Subject(exported.name, digest))
        envelope = signed(told, image_key.current(ring))
    write_whole(beside(exported), f"{envelope}\n".encode(), mode=0o644)
    return beside(exported)
