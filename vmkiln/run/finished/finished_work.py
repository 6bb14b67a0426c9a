"""What a run has finished, on record with the run: a later attempt goes on behind it.

The record is one fact of the run. It is written through the store that the run itself writes with, so it is in one
transaction with the fence: a host that lost the run cannot say that it finished something. It is written when what it
names is on disk, so it holds after a pulled plug too.
"""

import base64
import dataclasses
import hashlib
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

from vmkiln.azure_names import Architecture
from vmkiln.host.qemu import Disk
from vmkiln.image_contents.contents import ImageContents, read_contents
from vmkiln.images.data_disk import DataDisk, file_beside
from vmkiln.images.image_store import ImageFacts
from vmkiln.run.run_context import Disks, ResolvedSource, RunRequest
from vmkiln.run_failures import ValidationFailed
from vmkiln.store.database import Store
from vmkiln.store.host_table import RUN_LOST
from vmkiln.store.rows import RunRow
from vmkiln.store.run_facts import FinishedFacts, KeptDiskFacts

BUILD_DISK = "build-vm.qcow2"
OF_AN_ATTEMPT = ("flat", "documents_of", "vhds")  # of an image: its files, and what is made of its record
RESUMABLE = timedelta(hours=24)  # how long the disk of a killed `vmkiln build` is kept for its user
MOST_CONTENTS_BYTES = 1024 * 1024  # packed; those of an image with 2,000 packages take 30 KiB
MAKING = ("source", "customize", "vmProfile", "additionalDataDisks", "optimize")  # what a customized disk follows from


@dataclass(frozen=True)
class FinishedWork:
    """The customized disks of a run, and what was done with them since.

    `attempt` customized them; `made_of` is the digest of the template's parts that they follow from. `source` is the
    image that they lie on, `disk_bytes` the size that the guest sees of the OS disk. `is_validated` says that the
    validations are over, with `validation_error` when they failed and the run goes on all the same; `validated` is the
    digest of the disks that had them. `image` is the flattened disk as it is shared with the other hosts, or none, and
    `contents` what was found in it, packed; '' when nobody looked. `source_contents` is what was in the source, packed.
    """

    attempt: int
    made_of: str
    source: ResolvedSource
    disk_bytes: int
    disk: KeptDiskFacts
    until: str = ""
    is_validated: bool = False
    validation_error: str = ""
    validated: str = ""
    image: ImageFacts | None = None
    contents: str = ""
    source_contents: str = ""

    def disks(self, directory: Path) -> Disks:
        """The customized disks, when their files lie in this folder; pure."""
        os_disk = directory / BUILD_DISK
        below = replace(self.source, path=self.source_in(directory)).disks
        own = Disk(os_disk, "qcow2", backing=below.os, size_bytes=self.disk_bytes)
        luns = {file_beside(os_disk, lun).name: lun for lun in range(len(self.disk["sizes"]) + 64)}
        data = {luns[name]: directory / name for name in self.disk["sizes"] if name in luns}
        return Disks(own, {lun: Disk(file, "qcow2", backing=below.data.get(lun)) for lun, file in data.items()})

    def is_validated_as(self, digest: str) -> bool:
        """Whether the disks with this digest had the validations; a record of an older release does not say; pure."""
        return self.is_validated and self.validated in {"", digest}

    @property
    def validation_failure(self) -> ValidationFailed | None:
        """The failure of the validations that did not stop the run; pure."""
        return ValidationFailed(self.validation_error) if self.validation_error else None

    @property
    def digest(self) -> str:
        """The digest of all that the customized disks are made of: the same for the same bytes in the same order; pure.

        The overlays and what lies below them, with the size that the guest sees.
        """
        data = [[disk.lun, disk.digest] for disk in self.source.data_disks]
        parts = [
            self.source.digest,
            data,
            sorted(self.disk["digests"].items()),
            self.disk_bytes,
            self.source.generation,
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def source_in(self, directory: Path) -> Path:
        """The file of the source image, when it lies in this folder; pure."""
        return directory / f"source.{self.source.format}"


def made_of(request: RunRequest) -> str:
    """The digest of what a customized disk follows from: the same for the same source, customizers and VM; pure.

    Secrets are masked before, for a digest of a short one could be guessed.
    """
    properties = cast(Mapping[str, Any], request.resolved.get("properties") or {})
    parts = {name: properties.get(name) for name in MAKING}
    return hashlib.sha256(json.dumps(request.mask.value(parts), sort_keys=True).encode()).hexdigest()


def packed(text: str) -> str:
    """What was found in an image, as it is recorded; '' for what is too much for a record; pure."""
    found = base64.b64encode(zlib.compress(text.encode(), 9)).decode()
    return found if len(found) <= MOST_CONTENTS_BYTES else ""


def contents_on_record(contents: str) -> ImageContents | None:
    """What `packed` made that of; none of '', and of what this release cannot read, which another one wrote; pure."""
    try:
        return read_contents(zlib.decompress(base64.b64decode(contents)).decode()) if contents else None
    except (ValueError, TypeError, RecursionError, zlib.error):
        return None


def as_facts(work: FinishedWork) -> FinishedFacts:
    """What is recorded of it; pure."""
    source = {name: value for name, value in dataclasses.asdict(work.source).items() if name != "path"}
    image, objects = None, []
    if work.image is not None:
        image = {name: value for name, value in dataclasses.asdict(work.image).items() if name not in OF_AN_ATTEMPT}
        objects = [work.image.shared_object, *(disk.shared_object for disk in work.image.data_disks)]
    facts = FinishedFacts(
        attempt=work.attempt,
        made_of=work.made_of,
        source=source,
        disk_bytes=work.disk_bytes,
        disk=work.disk,
        until=work.until,
        is_validated=work.is_validated,
        validation_error=work.validation_error,
        validated=work.validated,
        image=image,
        contents=work.contents,
        objects=objects,
    )
    if work.source_contents:  # an older release, which may go on with the run, knows no such member
        facts["source_contents"] = work.source_contents
    return facts


def recorded(run: RunRow) -> FinishedWork | None:
    """What is on record of a run; none when it has finished nothing; pure."""
    facts = run.facts.get("finished")
    if not facts:
        return None
    kept = _known(FinishedWork, facts)
    kept["source"] = ResolvedSource(path=Path(), **_typed(ResolvedSource, facts["source"]))
    if facts["image"] is not None:
        kept["image"] = ImageFacts(flat=Path(), **_typed(ImageFacts, facts["image"]))
    return FinishedWork(**kept)


def _known(form: type[Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    """What this release knows of a record; what a newer one added is left out; pure."""
    return {name: value for name, value in facts.items() if name in form.__dataclass_fields__}


def _typed(form: type[Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    disks = tuple(DataDisk(**_known(DataDisk, disk)) for disk in facts["data_disks"])
    known = {**_known(form, facts), "architecture": Architecture(facts["architecture"]), "data_disks": disks}
    return {name: value for name, value in known.items() if name not in {"path", "flat"}}


def record(store: Store, run_id: str, work: FinishedWork | None) -> FinishedWork | None:
    """Put it on record, in place of what was; returns it. Raises: `RunTakenOver` when the run is another host's."""
    store.runs.add_facts(run_id, finished=None if work is None else as_facts(work))
    return work


def is_wanted(run: RunRow | None, folder: str, *, now: datetime) -> bool:
    """Whether somebody may go on from the disk in this folder; pure."""
    if run is None:
        return False
    work = recorded(run)
    if work is None or work.disk["folder"] != folder:
        return False
    return run.ended is None or is_resumable(run, now=now)


def is_resumable(run: RunRow, *, now: datetime) -> bool:
    """Whether a killed `vmkiln build` can go on from its customized disk; pure."""
    work = recorded(run)
    if work is None or not work.until or run.error_code != RUN_LOST:
        return False
    return now < datetime.fromisoformat(work.until)
