"""What a run was, for the statements about its images: collected by the host that built it, never told by a guest.

Every value comes from the database, from files that the host wrote, or from the request; what a guest said is in the
logs, which are named by their digests.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from vmkiln import __version__
from vmkiln.azure_names import LOG_FILES
from vmkiln.image_contents.bill_of_materials import bill_of_materials
from vmkiln.image_contents.contents import ImageContents, read_contents
from vmkiln.images.data_disk import parts_of
from vmkiln.images.image_store import sha256_of
from vmkiln.inspecting.kept_contents import kept
from vmkiln.provenance import image_key
from vmkiln.provenance.documents import CONTENTS, PROVENANCE, SBOM, SOURCE_CONTENTS
from vmkiln.provenance.envelope import signed
from vmkiln.provenance.statement import BuildRecord, Material, Subject, statement
from vmkiln.run.attesting import source_look
from vmkiln.run.attesting.boot_time import boot_seconds
from vmkiln.run.finished.finished_work import contents_on_record, recorded
from vmkiln.run.run_context import Staged
from vmkiln.sealing.key_ring import Key
from vmkiln.staging.storage_account import LOGS
from vmkiln.store.database import Store
from vmkiln.store.rows import ImageRow
from vmkiln.store.run_facts import confinement_of

OF_A_DATA_DISK = re.compile(r"-data-\d+\.vhd$")  # a VHD of its own, which has no system in it
Documents = Callable[[ImageRow], Mapping[str, str]]


def documents_of(staged: Staged, qemu: str = "") -> Documents:
    """What is to be kept with each image of this run, made of the image's record: the statement of its provenance.

    `qemu` is the version of QEMU.

    Raises: `KeyUnavailable` when there is no key to sign with, before anything is published; `StorageFailed`.
    """
    key, store = image_key.current(staged.host.store.seal.ring), staged.host.store
    record, contents = build_record(staged, qemu), contents_of(staged)
    if contents is not None and contents.boot_seconds is None:
        contents = replace(contents, boot_seconds=boot_seconds(store, staged.request.run_id))

    before = source_look.documents(staged).get(CONTENTS)
    of_source = {} if before is None else {SOURCE_CONTENTS: before}

    def made(image: ImageRow) -> Mapping[str, str]:
        if contents is None or OF_A_DATA_DISK.search(image.path.name):
            found = {}
        else:
            found = {**_told(contents, image), **of_source}
        return {**found, PROVENANCE: _signed(image, record, found, key, store.now)}

    return made


def contents_of(staged: Staged) -> ImageContents | None:
    """What is in the image of this run, by the look of this attempt or of an earlier one; none when nobody looked."""
    store, run_id = staged.host.store, staged.request.run_id
    return kept(staged.directory) or _recorded(store, run_id) or _told_before(store, run_id)


def _recorded(store: Store, run_id: str) -> ImageContents | None:
    """What is on record with the flattened disk that an earlier attempt shared."""
    work = recorded(store.runs.find(run_id))
    return None if work is None else contents_on_record(work.contents)


def _told_before(store: Store, run_id: str) -> ImageContents | None:
    """What an earlier attempt of the run found, and kept with an image that it published."""
    documents = (store.images.documents_of(image.artifact_id) for image in store.images.of_run(run_id))
    return next((read_contents(found[CONTENTS]) for found in documents if CONTENTS in found), None)


def _told(contents: ImageContents, image: ImageRow) -> dict[str, str]:
    bill = bill_of_materials(contents, name=image.artifact_id, digest=image.digest, created=image.created)
    return {CONTENTS: contents.text, SBOM: bill}


def _signed(
    image: ImageRow, record: BuildRecord, documents: Mapping[str, str], key: Key, now: Callable[[], Any]
) -> str:
    subjects = [Subject(_name_of(part), part.digest) for part in parts_of(image)]
    more = [Material(name, hashlib.sha256(text.encode()).hexdigest()) for name, text in documents.items()]
    record = replace(record, byproducts=[*record.byproducts, *more])
    return signed(statement(subjects[::-1], record, finished=now()), key)


def _name_of(part: ImageRow) -> str:
    """A file of an image, for people: the image's id and the name of the file; no path of this machine."""
    return f"{part.artifact_id}/{part.path.name}"


def build_record(staged: Staged, qemu: str = "") -> BuildRecord:
    """All that a statement tells of a run; secrets are masked. Raises: `StorageFailed`."""
    request, run = staged.request, staged.host.store.runs.find(staged.request.run_id)
    facts, shape = run.facts, staged.shape
    return BuildRecord(
        run_id=request.run_id,
        isolation_level=staged.host.isolation_level,
        chosen={
            "template": request.mask.value(request.resolved),
            "parameters": [parameter.as_data for parameter in request.parameters],
            "templateName": request.template_name,
            "templateId": request.template_id,
            "resourceGroup": request.resource_group,
            "egressPolicy": request.mask(str(facts.get("egress_policy", ""))),
            "allowances": [f"{allowed.network}:{allowed.port}" for allowed in request.allowances],
        },
        decided={
            "hostId": facts.get("host_id", ""),
            "attempt": request.attempt,
            "accelerator": str(staged.host.accelerator),
            "acceleratorReason": staged.host.accelerator_reason,
            "releasePolicy": sorted(map(str, staged.host.settings.demands)),
            "topology": facts.get("topology", ""),
            "wentOn": {
                "container-build-vm": bool(facts.get("build-vm_container_went_on")),
                "build-vm": bool(facts.get("build-vm_went_on")),
            },
            **({"checkpoint": dict(begun)} if (begun := facts.get("checkpoint")) else {}),
            **({"vmBoot": dict(vm_boot)} if (vm_boot := facts.get("vm_boot")) else {}),
            "vm": {"cpus": shape.cpus, "memoryMiB": shape.memory_mib, "diskBytes": shape.disk_bytes},
            "confinement": {
                machine: {str(fact["name"]): bool(fact["holds"]) for fact in held}
                for machine, held in confinement_of(facts).items()
            },
        },
        materials=list(_materials(staged)),
        byproducts=list(_byproducts(staged)),
        versions={
            "vmkiln": __version__,
            "packer": staged.host.container_image.packer_version,
            **({"qemu": qemu} if qemu else {}),
        },
        began=run.started,
    )


def _materials(staged: Staged) -> Iterator[Material]:
    source, mask = staged.source, staged.request.mask
    known = {"exactVersion": source.exact_version, "format": source.format, "generation": source.generation}
    yield Material("source", source.digest, mask(source.origin), known)
    for disk in source.data_disks:
        yield Material(f"source, data disk {disk.lun}", disk.digest)
    yield from _packages_before(staged)
    yield Material("container image", staged.host.container_image.digest)
    uris = {script.path: script.uri for script in staged.request.template.scripts}
    for path, file in sorted(staged.copies.items()):
        yield Material(path, sha256_of(file), mask(uris.get(path, "")))


def _packages_before(staged: Staged) -> Iterator[Material]:
    """What was in the source: by what is kept with an image of ours, else by the look that was taken at it here."""
    documents = source_look.documents(staged)
    for name in (SBOM, CONTENTS):
        if name in documents:
            yield Material(f"source, {name}", hashlib.sha256(documents[name].encode()).hexdigest())


def _byproducts(staged: Staged) -> Iterator[Material]:
    """The logs, which are whole by now: both VMs and the run's network have ended."""
    for name in LOG_FILES.values():
        file: Path = staged.group.storage_account.blob(f"{LOGS}/{staged.request.run_id}/{name}")
        if file.is_file():
            yield Material(name, sha256_of(file))
