"""The hygiene gate: before anything is published, the finished disks are scrubbed and looked at from outside.

The build VM is off. The inspection VM gives back what is free in its file systems, so that no deleted byte is left, and
tells what lies there; later the bytes of the flattened files are searched for the run's own keys. What a customizer did
to the deprovision step, to PATH or to the loader does not count: what counts is what is on the disk. A Windows image is
looked at and not scrubbed, so it is never called clean.

*Leaves behind:* overlays in the run's folder, the verdict among the run's facts, receipts of the inspection VM. *Undone
by:* the deletion of the run's folder. *Safe to repeat:* yes, with new overlays.
"""

import functools
from collections.abc import Collection, Sequence
from enum import StrEnum
from pathlib import Path

from vmkiln.azure_names import DISK
from vmkiln.errors import VmkilnError
from vmkiln.host.disk.disk_image import create_overlay
from vmkiln.host.qemu import Disk, Machine
from vmkiln.images.data_disk import file_beside
from vmkiln.inspecting import inspection, kept_contents
from vmkiln.inspecting.answer import Answer
from vmkiln.inspecting.byte_search import found_in
from vmkiln.inspecting.disk_contents import DiskContents
from vmkiln.inspecting.hygiene import residues, told
from vmkiln.inspecting.inspection import describe, look_at
from vmkiln.inspecting.places import Places
from vmkiln.inspecting.residue import ALL, TAG, Allowed, Found, Residue, allowed_of, tag_of
from vmkiln.run.checkpoints import scrubbed_disk
from vmkiln.run.customizing import VM_NAME
from vmkiln.run.finished import build_keys
from vmkiln.run.gates import windows_hygiene
from vmkiln.run.guest import choice
from vmkiln.run.packer_phase import keep_confinement
from vmkiln.run.run_context import Disks, Entered, Staged
from vmkiln.run.run_event import Notice, PartStarted
from vmkiln.run_failures import GeneralizationIncomplete
from vmkiln.run_state import PartKind, Start
from vmkiln.staging import cloud_init_seed
from vmkiln.staging.staging_resource_group import resources
from vmkiln.store.run_facts import HygieneFact
from vmkiln.waiting.off_loop import go_on, off_loop, off_loop_with, until_cancelled

PART = "hygiene"  # of the timeline
SCRUBBED = f"{VM_NAME}-scrubbed"  # the name of the overlays' files
CLUSTER_BYTES = 4096  # the blocks of file systems: what is free is given back block by block
MOST_NAMED = 20
MOST_UNPROVEN, MOST_LETTERS = 100, 400  # places that could not be read, and letters of each: a guest made them
DELETED = "what was deleted in a Windows image is not looked for, but for the password of the build"


class Verdict(StrEnum):
    """What the hygiene gate says of an image."""

    CLEAN = "Clean"
    RELAXED = "Relaxed"
    UNPROVEN = "Unproven"
    SKIPPED = "Skipped"


def allowed(staged: Staged) -> Allowed:
    """What may be left in this run's image: the operator's setting and the template's tag. Raises: `InputError`."""
    return allowed_of(staged.host.settings.allowed_residues, tag_of(staged.request.template.tags))


async def scrubbed(entered: Entered, disks: Disks) -> Disks:
    """The disks with nothing in their free blocks, after a look at them; they are final then.

    Raises: `GeneralizationIncomplete` with all that was found, `InspectionFailed`, `InputError` for a wrong tag.
    """
    staged = entered.staged
    may_stay = allowed(staged)
    if may_stay.everything:
        await _record(staged, HygieneFact(verdict=Verdict.SKIPPED, allowed=[ALL], told=[], unproven=[]))
        return disks
    if choice.is_windows(staged):
        staged.tell(PartStarted(PartKind.GATE, PART))
        look = await windows_hygiene.looked(entered, disks)
        unread = [_short(one) for one in look.unproven]
        fact = _judged(staged, look.found, may_stay, told=look.told, unproven=[*unread, DELETED])
        await _record(staged, fact)
        return disks
    upon, contents = await _cleared_once(entered, disks)
    found, to_tell, unproven = await off_loop(_seen_in, contents, 1 + len(disks.data))  # seconds, of a million files
    fact = _judged(staged, found, may_stay, told=to_tell, unproven=unproven)
    await _record(staged, fact)
    return upon


async def _cleared_once(entered: Entered, disks: Disks) -> tuple[Disks, DiskContents]:
    """The disks scrubbed, and what lies on them; of a disk that was kept, as the inspection VM left and saw it before.

    Raises: `InspectionFailed`.
    """
    staged = entered.staged
    key, own = await _key_of_look(staged, disks), staged.directory / f"{SCRUBBED}.qcow2"
    if key and (before := await scrubbed_disk.taken(staged, disks.os, own, key)):
        disk, contents = before
        staged.tell(PartStarted(PartKind.GATE, PART, Start.KEPT))
        staged.tell(Notice("the disk was scrubbed and looked at when it was kept; what was seen is judged anew"))
        await off_loop(kept_contents.keep, staged.directory, contents)
        return Disks(disk), contents
    staged.tell(PartStarted(PartKind.GATE, PART))
    answer = Answer(most_told_bytes=scrubbed_disk.MOST_TOLD_BYTES if key else 0)
    upon, contents = await cleared(entered, disks, SCRUBBED, answer=answer)
    if key:
        await scrubbed_disk.keep(staged, disks.os.path, upon.os.path, answer, key)
    return upon, contents


async def _key_of_look(staged: Staged, disks: Disks) -> str:
    """Under what a look at these disks is kept; '' where nothing of it is."""
    if disks.data or not await off_loop(scrubbed_disk.of_run, staged):
        return ""
    digest = staged.host.container_image.digest
    try:
        return await scrubbed_disk.key_of(_machine(staged, disks), image_digest=digest, cluster_bytes=CLUSTER_BYTES)
    except (OSError, VmkilnError) as error:
        staged.tell(Notice(f"what is seen of the disk is not kept: {error}", is_warning=True))
        return ""


def _machine(staged: Staged, upon: Disks, *, trim: bool = False) -> Machine:
    image, accelerator = staged.host.container_image, staged.host.accelerator
    return describe(image, upon.all, accelerator=accelerator, scrub=True, trim=trim)


async def cleared(
    entered: Entered, disks: Disks, name: str, *, trim: bool = False, answer: Answer | None = None
) -> tuple[Disks, DiskContents]:
    """Overlays of this name on the disks, scrubbed, and with `trim` trimmed before; and what lies on them.

    `answer` reads what the inspection VM tells. Raises: `InspectionFailed`.
    """
    staged = entered.staged
    upon = await _overlays(disks, staged.directory / f"{name}.qcow2")
    machine = _machine(staged, upon, trim=trim)
    on_confinement = functools.partial(keep_confinement, staged)
    recorded = resources_of(upon)
    async with off_loop_with(lambda: resources(staged.group, staged.host.store, recorded, exist=True)):
        contents = await look_at(
            entered.namespace, machine, directory=staged.directory, on_confinement=on_confinement, answer=answer
        )
    return upon, contents


def _seen_in(contents: DiskContents, disks: int) -> tuple[tuple[Found, ...], tuple[str, ...], list[str]]:
    """What a look at so many disks has found: residues, what is told, what could not be read (some of it); pure."""
    found = residues(
        contents,
        user=cloud_init_seed.USER,
        host_name=cloud_init_seed.HOST_NAME,
        key_comment=cloud_init_seed.KEY_COMMENT,
    )
    unread = [*contents.unproven, *Places(contents).untold()]
    unproven = [_short(one) for one in unread[:MOST_UNPROVEN]]
    if len(unread) > MOST_UNPROVEN:
        unproven.append(f"{len(unread) - MOST_UNPROVEN} more places that could not be read")
    if len(contents.disks) != disks:
        unproven.append(f"the inspection VM saw {len(contents.disks)} of {disks} disks")
    if not contents.root:
        unproven.append("no operating system was found on the disks")
    return found, told(contents), unproven


def _short(text: str) -> str:
    """A place with its reason, which stands behind it."""
    return text if len(text) <= MOST_LETTERS else f"{text[: MOST_LETTERS - 80]} ... {text[-75:]}"


def resources_of(upon: Disks) -> tuple[tuple[str, str, dict[str, object]], ...]:
    """What exists in the staging resource group while the inspection VM looks at disks: type, name, detail; pure."""
    return (
        (DISK, f"{inspection.NAME}-os-disk", {"path": str(upon.os.path)}),
        *(
            (DISK, f"{inspection.NAME}-data-disk-{lun}", {"path": str(disk.path), "lun": lun})
            for lun, disk in sorted(upon.data.items())
        ),
        inspection.RESOURCE,
    )


async def searched(staged: Staged, files: Sequence[Path], *, digest: str) -> None:
    """Look for the build's keys in the bytes of the flattened files; the verdict is kept with the OS disk's digest.

    Raises: `GeneralizationIncomplete` when they are there.
    """
    may_stay = allowed(staged)
    if may_stay.everything:
        return
    fact = (await off_loop(staged.host.store.runs.find, staged.request.run_id)).facts.get("hygiene")
    if not fact:
        return  # nothing was customized
    unproven = list(fact["unproven"])
    wanted = await off_loop(build_keys.known, staged)
    if wanted:
        places = await until_cancelled(found_in, files, wanted, between=go_on)
        found = tuple(Found(Residue.RUN_SECRETS, f"{place}, in bytes of the disk") for place in places)
    else:
        found = ()
        unproven.append("the build's keys are not known any more, so the bytes were not searched for them")
    more = _judged(staged, found, may_stay, told=(), unproven=unproven, known=fact["unproven"])
    verdict = more["verdict"] if fact["verdict"] == Verdict.CLEAN else fact["verdict"]
    kept = HygieneFact(
        verdict=verdict,
        allowed=sorted({*fact["allowed"], *more["allowed"]}),
        told=fact["told"],
        unproven=more["unproven"],
        digest=digest,
    )
    await _record(staged, kept)


def _judged(
    staged: Staged,
    found: Sequence[Found],
    may_stay: Allowed,
    *,
    told: Sequence[str],
    unproven: Sequence[str],
    known: Collection[str] = (),
) -> HygieneFact:
    """What is kept of a look; what is `known` to be unproven was told before.

    Raises: `GeneralizationIncomplete` naming what may not stay.
    """
    for sentence in told:
        staged.tell(Notice(f"in the image: {sentence}"))
    refused = [one for one in found if one.residue not in may_stay.residues]
    if refused:
        raise GeneralizationIncomplete(
            f"the image is not generalized: {_named(refused)}",
            hint=f"nothing was published; take them away in a last step, or allow them by the tag {TAG} "
            f"(`{', '.join(sorted({one.residue for one in refused}))}`) or the setting allowed_residues",
        )
    stays = sorted({str(one.residue) for one in found})
    for sentence in unproven:
        if sentence in known:
            continue
        staged.tell(Notice(f"not proven clean: {sentence}", is_warning=True))
    if stays:
        staged.tell(Notice(f"left in the image, as allowed: {_named(found)}", is_warning=True))
    verdict = Verdict.UNPROVEN if unproven else Verdict.RELAXED if stays else Verdict.CLEAN
    return HygieneFact(verdict=verdict, allowed=stays, told=list(told), unproven=list(unproven))


def _named(found: Sequence[Found]) -> str:
    more = f"; and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
    return "; ".join(_short(str(one)) for one in found[:MOST_NAMED]) + more


async def _record(staged: Staged, fact: HygieneFact) -> None:
    await off_loop(staged.host.store.runs.add_facts, staged.request.run_id, hygiene=fact)


async def _overlays(disks: Disks, own: Path) -> Disks:
    """An overlay on each disk, with small clusters, so that every free block can be given back."""

    async def upon(disk: Disk, path: Path) -> Disk:
        return await create_overlay(disk, path, size_bytes=disk.size_bytes or None, cluster_bytes=CLUSTER_BYTES)

    data = {lun: await upon(disk, file_beside(own, lun)) for lun, disk in disks.data.items()}
    return Disks(await upon(disks.os, own), data)
