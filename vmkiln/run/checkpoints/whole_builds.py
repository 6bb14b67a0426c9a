"""A build of which nothing was edited: its disk, kept as it was when the build VM had powered itself off.

It lies beside the checkpoints, as one behind the last step, of a VM that is off and has no memory and no devices. Who
takes it runs no step and no VM; its gates look at the disk as at any other. The keys of the build that made it lie with
it, sealed for that disk, for they are what is searched for in its bytes: without them it is neither kept nor taken.

*Leaves behind:* a folder in the cache; a copy of the disk in the run's folder, with its receipt. *Undone by:* as what
`keeping.py` keeps; the deletion of the run's folder. *Safe to repeat:* yes.
"""

import contextlib
import functools
import shutil
import time
from dataclasses import replace
from pathlib import Path

from vmkiln.azure_names import DISK
from vmkiln.errors import StorageFailed, VmkilnError
from vmkiln.files.durable_file import reported, sync
from vmkiln.host.saved import memory_file, saved_vm
from vmkiln.images.image_store import link_or_copy
from vmkiln.packer.packer_template import DEPROVISION_NAME
from vmkiln.run.checkpoints import keeping, kept_builds, scrubbed_disk
from vmkiln.run.checkpoints.kept_builds import KeptBuild
from vmkiln.run.checkpoints.prefix import Position
from vmkiln.run.checkpoints.waiting_guest import NotKept
from vmkiln.run.finished import build_keys
from vmkiln.run.run_context import Staged
from vmkiln.run.run_event import Notice
from vmkiln.run.starts import build_vm_start
from vmkiln.staging.staging_resource_group import resources
from vmkiln.waiting.off_loop import off_loop, off_loop_with, until_cancelled
from vmkiln.warm import checkpoint
from vmkiln.warm.checkpoint import Checkpoint
from vmkiln.warm.saved_base import BaseStart


def position_of(build: KeptBuild) -> Position | None:
    """The place behind the last step; none when not all of the build may be kept; pure."""
    if not build.is_whole:
        return None
    return _behind(build.positions[-1])


def _behind(last: Position) -> Position:
    key = saved_vm.key_of({"before": last.key, "step": [DEPROVISION_NAME]})
    return Position(last.number + 1, key, DEPROVISION_NAME)


async def found(staged: Staged, build: KeptBuild) -> Checkpoint | None:
    """What is kept of the very same build, which this one may take, also of another template that shares its own.

    None when there is none.
    """
    position = position_of(build)
    if position is None:
        return None
    sharers = tuple(replace(one, positions=(_behind(one.positions[-1]),)) for one in build.sharers)
    return await kept_builds.longest_kept(staged, KeptBuild((position,), scope=build.scope, sharers=sharers))


async def taken(staged: Staged, hit: Checkpoint, own: Path, *, name: str) -> str:
    """Have the disk lie at `own`; gives what is said of it, '' when it is of no use, which is told, too.

    Raises: `StorageFailed` when the run's own folder takes nothing more.
    """
    reason = await off_loop(_why_without_keys, staged, hit)
    if not reason:
        disk = ((DISK, f"{name}-os-disk", {"path": str(own)}),)  # recorded as that of a VM is
        async with off_loop_with(lambda: resources(staged.group, staged.host.store, disk, exist=True)):
            start = await build_vm_start.copied_disk(staged, BaseStart(hit.saved), own)
        reason = start.reason
    if reason:
        staged.tell(Notice(f"the disk that was kept is not used: {reason}", is_warning=True))
        return ""
    place = hit.saved.memory.parent
    await off_loop(lambda: scrubbed_disk.bring(staged, place, disk_digest=hit.saved.disk_digest))
    fact = kept_builds.fact_of(hit)
    await off_loop(staged.host.store.runs.add_facts, staged.request.run_id, checkpoint=fact)
    return kept_builds.tell_whole(staged, name, hit)


def _why_without_keys(staged: Staged, hit: Checkpoint) -> str:
    """Take over the keys that are searched for in the disk; gives why there are none, '' when they are there."""
    try:
        if build_keys.take_over(staged, hit.saved.memory.parent, disk_digest=hit.saved.disk_digest):
            return ""
        why = "not to be opened here, or another disk came into its place"
    except StorageFailed:
        raise
    except (VmkilnError, OSError) as error:
        why = str(error)
    return f"the keys of the build that made it are not known ({why}), so its bytes could not be searched for them"


async def keep(staged: Staged, build: KeptBuild, disk: Path) -> None:
    """Keep the disk of a VM that has powered itself off behind its last step.

    A build fails for it only where the disk itself cannot be written out, which is told once, to whoever syncs first.
    Raises: `StorageFailed`.
    """
    position = position_of(build)
    if position is None:
        return
    with reported("keeping the customized disk"):
        await off_loop(sync, disk)
    try:
        digest = await until_cancelled(memory_file.digest_of_file, disk)
        await off_loop(_kept, staged, build, position, disk, digest)
    except (VmkilnError, OSError) as error:
        staged.tell(Notice(f"the disk is not kept for later builds: {error}"))


def forget(staged: Staged) -> None:
    """Delete the disk that this run kept or took: its gates refused it, and whoever took it would end the same way."""
    for one in scrubbed_disk.of_run(staged):
        saved_vm.discard(one.saved)


def _kept(staged: Staged, build: KeptBuild, position: Position, disk: Path, digest: str) -> None:
    settings, request = staged.host.settings, staged.request
    made = build.since or time.time()
    about = checkpoint.About(
        build.scope, position.number, position.step, request.run_id, request.template_name, made, instance_id=""
    )
    with contextlib.ExitStack() as stack:
        workplace = keeping.begun_for(settings, position.key, disk, stack, memory_mib=0)
        stack.callback(functools.partial(shutil.rmtree, workplace, ignore_errors=True))
        link_or_copy(disk, workplace / saved_vm.DISK)  # nobody writes to it any more
        (workplace / saved_vm.MEMORY).touch(mode=0o600)
        if not build_keys.keep(staged, workplace, disk_digest=digest):
            raise NotKept("what is searched for in its bytes cannot be kept with it")
        saved_vm.finished(
            workplace,
            b"",
            memory_file.digest_of_file(workplace / saved_vm.MEMORY),
            source=staged.source.digest,
            disk_digest=digest,
            about=checkpoint.record_of(about),
        )
        keeping.named(settings, workplace, position.key)
