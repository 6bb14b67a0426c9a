"""The disk of a build of which nothing was edited, scrubbed, and what the inspection VM told of it, kept beside it.

The same inspection VM would give back the same blocks of the same disk, and tell the same, where it came to the end of
all that it tries. So its word is kept then, and no verdict: whoever takes it reads it anew, by the rules of the day.
Both are sealed for that disk and that inspection VM.

*Leaves behind:* files in the folder of a kept disk, and in the folder of a run that took it. *Undone by:* the deletion
of those folders. *Safe to repeat:* yes.
"""

import contextlib
import zlib
from dataclasses import replace
from pathlib import Path

from vmkiln.errors import KeyUnavailable, VmkilnError
from vmkiln.files.durable_file import write_whole
from vmkiln.host.disk.disk_image import rebase
from vmkiln.host.qemu import Disk, Machine
from vmkiln.host.saved import memory_file, saved_vm
from vmkiln.images.image_store import link_or_copy
from vmkiln.inspecting.answer import Answer
from vmkiln.inspecting.disk_contents import DiskContents
from vmkiln.run.checkpoints import keeping
from vmkiln.run.run_context import Staged
from vmkiln.run.run_event import Notice
from vmkiln.waiting.off_loop import off_loop, until_cancelled
from vmkiln.warm import checkpoint
from vmkiln.warm.machine_facts import machine_facts

OVERLAY, TOLD, SEALED = "scrubbed.qcow2", "told", "look.sealed"  # beside a kept disk
TAKEN = "kept-"  # before the same names in the folder of a run
MOST_TOLD_BYTES = 32 * 1024**2  # of what is kept; an answer that is longer is not
MOST_SEALED_BYTES = 4096


async def key_of(machine: Machine, *, image_digest: str, cluster_bytes: int) -> str:
    """What has to be the same for an inspection VM to scrub alike and to tell the same of a disk.

    Raises: `OSError`, `VmkilnError` where it cannot be asked what the VM is.
    """
    facts = await machine_facts(replace(machine, disks=(Disk(Path("/disk"), "qcow2"),)))
    return saved_vm.key_of({**facts, "image": image_digest, "clusters": cluster_bytes})


def bring(staged: Staged, kept: Path, *, disk_digest: str) -> None:
    """Copy what lies beside the kept disk with this digest into the run's folder, if all of it is what was sealed.

    What is damaged or of another disk is told, and the run looks for itself, as where nothing is there.
    """
    if not (kept / SEALED).exists():
        return
    files = {name: staged.directory / f"{TAKEN}{name}" for name in (OVERLAY, TOLD)}
    try:
        if not (record := _opened(staged, kept / SEALED, disk_digest)):
            reason = "it was not sealed here for this disk"
        elif all(saved_vm.copied_file(kept / name, file) == record[name] for name, file in files.items()):
            write_whole(staged.directory / f"{TAKEN}key", record["key"].encode())
            return
        else:
            reason = "it is not what was sealed"
    except (OSError, VmkilnError) as error:  # pruned meanwhile, or no room here
        reason = str(error)
    _delete(*files.values())
    _tell_unused(staged, reason)


async def taken(staged: Staged, customized: Disk, own: Path, key: str) -> tuple[Disk, DiskContents] | None:
    """The customized disk as it was scrubbed before, at `own`, and what lies on it; none where that was not brought.

    What was brought of another inspection VM, or cannot be understood, is deleted.
    """
    overlay, told, noted = (staged.directory / f"{TAKEN}{name}" for name in (OVERLAY, TOLD, "key"))
    try:
        contents = await off_loop(_read, told) if await off_loop(_is_of, noted, key) else None
        if contents is None:
            return None
        await rebase(overlay, customized)
        await off_loop(overlay.rename, own)
    except (VmkilnError, zlib.error, OSError) as error:
        _tell_unused(staged, str(error))
        return None
    finally:
        await off_loop(_delete, overlay, told, noted)
    return Disk(own, "qcow2", backing=customized, size_bytes=customized.size_bytes), contents


async def keep(staged: Staged, customized: Path, overlay: Path, answer: Answer, key: str) -> None:
    """Keep both beside the customized disk, where that is kept. A build never fails for it."""
    told = answer.told
    if told is None or not await off_loop(_is_all, answer.contents()):
        return
    try:
        one = await until_cancelled(_place_of, staged, customized)
        if one is None:
            return
        try:
            await off_loop(_kept, staged, one, overlay, told, key)
        finally:
            await off_loop(_discard_pruned, one)
    except (OSError, VmkilnError) as error:
        staged.tell(Notice(f"what was seen of the disk is not kept for later builds: {error}"))


def _is_all(contents: DiskContents) -> bool:
    """Whether another look would tell no more: what was left out may have been so for want of time; pure.

    A password that was not known may be one that was not tried any more.
    """
    files = (contents.content(path) or b"" for path in ("etc/shadow", "etc/passwd"))
    return not contents.unproven and not any(b":set:" in file for file in files)


def _discard_pruned(one: checkpoint.Checkpoint) -> None:
    """Delete what was kept beside a disk that went meanwhile; a folder without a record is found by nobody."""
    if not (one.saved.memory.parent / saved_vm.RECORD).exists():
        saved_vm.discard(one.saved)


def _kept(staged: Staged, one: checkpoint.Checkpoint, overlay: Path, told: bytes, key: str) -> None:
    place, settings = one.saved.memory.parent, staged.host.settings
    record = {"key": key, OVERLAY: memory_file.digest_of_file(overlay)}
    for name in (SEALED, OVERLAY):
        (place / name).unlink(missing_ok=True)
    write_whole(place / TOLD, zlib.compress(told, 1), mode=0o400)
    record[TOLD] = memory_file.digest_of_file(place / TOLD)
    link_or_copy(overlay, place / OVERLAY)  # nobody writes to it any more
    sealed = staged.host.store.seal.sealed(record, place=_sealed_for(one.saved.disk_digest))
    write_whole(place / SEALED, sealed.encode(), mode=0o400)  # last: without it nothing of it counts
    checkpoint.make_room(settings.saved_vms, most_bytes=settings.most_saved_vms_mib * keeping.MIB, keep=one.key)


def _place_of(staged: Staged, customized: Path) -> checkpoint.Checkpoint | None:
    """The kept disk that has the very bytes of the run's own; none when there is none."""
    for one in of_run(staged):
        disk = one.saved.disk
        with contextlib.suppress(OSError):
            if disk is None:
                continue
            if disk.samefile(customized) or memory_file.digest_of_file(customized) == one.saved.disk_digest:
                return one
    return None


def of_run(staged: Staged) -> list[checkpoint.Checkpoint]:
    """The disks of whole builds that are there and that this run kept or took."""
    fact = staged.host.store.runs.find(staged.request.run_id).facts.get("checkpoint")
    taken_key = "" if fact is None else fact["key"]
    return [
        one
        for one in checkpoint.all_of(staged.host.settings.saved_vms)
        if one.about.is_whole and (one.about.run_id == staged.request.run_id or one.key == taken_key)
    ]


def _opened(staged: Staged, file: Path, disk_digest: str) -> dict[str, str]:
    """The record of a look at the disk with this digest; nothing when it is not there, or of another."""
    try:
        if file.stat().st_size > MOST_SEALED_BYTES:
            return {}
        record = staged.host.store.seal.opened(file.read_text(errors="replace"), place=_sealed_for(disk_digest))
    except (OSError, KeyUnavailable):
        return {}
    return record if isinstance(record, dict) and {"key", OVERLAY, TOLD} <= record.keys() else {}


def _sealed_for(disk_digest: str) -> str:
    return f"look at the disk {disk_digest}"


def _is_of(noted: Path, key: str) -> bool:
    return noted.exists() and noted.read_text() == key


def _read(told: Path) -> DiskContents:
    """What was told, read anew. Raises: `InspectionFailed`, `zlib.error`, `OSError`."""
    reader = zlib.decompressobj()
    answer = Answer()
    answer.feed(reader.decompress(told.read_bytes(), MOST_TOLD_BYTES))
    return answer.contents()


def _tell_unused(staged: Staged, reason: str) -> None:
    staged.tell(Notice(f"what was seen of the kept disk is not used: {reason}", is_warning=True))


def _delete(*files: Path) -> None:
    for file in files:
        file.unlink(missing_ok=True)
