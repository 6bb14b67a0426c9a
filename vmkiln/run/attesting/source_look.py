"""A look at the source of a build, once for each: what was in it before is told with what is in the image.

What an image of ours holds was kept when it was published. Any other source is looked at from outside, by the same VM
that looks at finished disks, before the first image of it is published on this host.

*Leaves behind:* what was found, in the cache; receipts of the inspection VM. *Undone by:* deleting it.
*Safe to repeat:* yes.
"""

import contextlib
import functools
import hashlib

from vmkiln.errors import StorageFailed
from vmkiln.image_contents.contents import ImageContents, read_contents
from vmkiln.inspecting import inspection, source_contents
from vmkiln.inspecting.inspection import describe, look_at
from vmkiln.inspecting.kept_contents import contents_of
from vmkiln.provenance.documents import CONTENTS
from vmkiln.run.finished.finished_work import contents_on_record, recorded
from vmkiln.run.guest import choice
from vmkiln.run.packer_phase import keep_confinement
from vmkiln.run.run_context import Entered, ResolvedSource, Staged
from vmkiln.run.run_event import Notice
from vmkiln.run_failures import AnswerRefused, InspectionFailed, VirtualMachineLost
from vmkiln.staging.staging_resource_group import resources
from vmkiln.waiting.off_loop import off_loop, off_loop_with

REFUSED = "what was told of it could not be true, or was too much"
FAILED_AGAIN = "two looks in a row came to nothing"


def found(staged: Staged) -> ImageContents | None:
    """What was in the source, as it is known: an image of ours, or one that was looked at here; none of any other."""
    text = documents(staged).get(CONTENTS)
    return None if text is None else read_contents(text)


def documents(staged: Staged) -> dict[str, str]:
    """What is kept of the source: with an image of ours in whose place no other came since, else by the look."""
    images, source = staged.host.store.images, staged.source
    image = images.find(source.origin)
    kept = {} if image is None or image.digest != source.digest else dict(images.documents_of(source.origin))
    if CONTENTS not in kept:
        seen = _recorded(staged) or source_contents.known(staged.host.settings.source_contents, _key_of(staged))
        if seen is not None:
            kept[CONTENTS] = seen.text
    return kept


def _recorded(staged: Staged) -> ImageContents | None:
    """What is on record with the flattened disk that an earlier attempt shared, maybe on another host."""
    work = recorded(staged.host.store.runs.find(staged.request.run_id))
    return None if work is None else contents_on_record(work.source_contents)


async def tell_if_unknown(staged: Staged) -> None:
    """Tell that images are published without what was in their source, which a build that goes on cannot look at."""
    if not choice.is_windows(staged) and await off_loop(found, staged) is None:
        text = "what was in the source is not known here, and is not kept with the images"
        staged.tell(Notice(text, is_warning=True))


async def look_once(entered: Entered) -> None:
    """Look at the source of a Linux build, unless it is known what is in it. One that cannot be read is told.

    The look at the finished disks comes later, and is kept where this one is not.

    Raises: `NotConfined`, as every VM.
    """
    staged = entered.staged
    if choice.is_windows(staged) or await off_loop(found, staged) is not None:
        return
    folder, key = staged.host.settings.source_contents, _key_of(staged)
    failed = await off_loop(source_contents.failed_lately, folder, key)
    if failed:
        hours = source_contents.FAILED_SECONDS / 3600
        text = f"what was in the source is not known, and is looked for again in {hours:.0f} hours at the latest"
        staged.tell(Notice(f"{text}: {failed}", is_warning=True))
        return
    staged.tell(Notice("looking at what is in the source, which is kept for its later builds"))
    machine = describe(
        staged.host.container_image,
        staged.source.disks.all,
        accelerator=staged.host.accelerator,
        scrub=False,
    )
    on_confinement = functools.partial(keep_confinement, staged)
    try:
        async with off_loop_with(lambda: resources(staged.group, staged.host.store, [inspection.RESOURCE], exist=True)):
            seen = await look_at(
                entered.namespace, machine, directory=staged.directory, on_confinement=on_confinement, is_kept=False
            )
    except (InspectionFailed, VirtualMachineLost) as error:
        staged.tell(Notice(f"what was in the source is not known: {error.message}", is_warning=True))
        # of this host's fault, its memory say, not every build of hours is to suffer; nor is its text for other runs
        again = source_contents.FAILED_ONCE if failed is None else FAILED_AGAIN
        reason = REFUSED if isinstance(error, AnswerRefused) else again
        with contextlib.suppress(StorageFailed):  # the next build looks again
            await off_loop(source_contents.keep_failure, folder, key, reason)
        return
    contents = await off_loop(contents_of, seen)
    try:
        await off_loop(source_contents.keep, folder, key, contents)
    except StorageFailed as error:  # a full disk ends what cannot do without it, and says so then
        staged.tell(Notice(f"what was in the source could not be kept: {error.message}", is_warning=True))


def _key_of(staged: Staged) -> str:
    """What is known of the source is kept by this; pure."""
    return source_contents.key_of(_digest_of(staged.source), staged.host.container_image.digest)


def _digest_of(source: ResolvedSource) -> str:
    """One digest for all disks of a source: that of the OS disk where it is the only one; pure."""
    if not source.data_disks:
        return source.digest
    disks = (f"{disk.lun}:{disk.digest}" for disk in source.data_disks)
    return hashlib.sha256(" ".join([source.digest, *disks]).encode()).hexdigest()
