"""A build of which nothing was edited: its disk, kept as it was when the build VM had powered itself off.

It lies beside the checkpoints, as one behind the last step, of a VM that is off and has no memory and no devices. Who
takes it runs no step and no VM; its gates look at the disk as at any other. The keys of the build that made it lie with
it, sealed, for they are what is searched for in its bytes.

*Leaves behind:* a folder in the cache; a copy of the disk in the run's folder. *Undone by:* as what `keeping.py` keeps;
the deletion of the run's folder. *Safe to repeat:* yes.
"""

import contextlib
import functools
import os
import shutil
import time
from pathlib import Path

from vmkiln.errors import VmkilnError
from vmkiln.host.saved import memory_file, saved_vm
from vmkiln.images.image_store import link_or_copy
from vmkiln.packer.packer_template import DEPROVISION_NAME
from vmkiln.run.checkpoints import keeping, kept_builds
from vmkiln.run.checkpoints.kept_builds import KeptBuild
from vmkiln.run.checkpoints.prefix import Position
from vmkiln.run.finished import build_keys
from vmkiln.run.run_context import Staged
from vmkiln.run.run_event import Notice
from vmkiln.run.starts import build_vm_start
from vmkiln.waiting.off_loop import off_loop
from vmkiln.warm import checkpoint
from vmkiln.warm.checkpoint import Checkpoint
from vmkiln.warm.saved_base import BaseStart


def position_of(build: KeptBuild) -> Position | None:
    """The place behind the last step; none when not all of the build may be kept; pure."""
    if not build.is_whole:
        return None
    last = build.positions[-1]
    return Position(
        last.number + 1, saved_vm.key_of({"before": last.key, "step": [DEPROVISION_NAME]}), DEPROVISION_NAME
    )


async def found(staged: Staged, build: KeptBuild) -> Checkpoint | None:
    """What is kept of the very same build, which this one may take; none when there is none."""
    position = position_of(build)
    if position is None:
        return None
    return await kept_builds.longest_kept(staged, KeptBuild((position,), scope=build.scope))


async def taken(staged: Staged, hit: Checkpoint, own: Path, *, name: str) -> str:
    """Have the disk lie at `own`; gives what is said of it, '' when it is of no use, which is told, too."""
    start = await build_vm_start.copied_disk(staged, BaseStart(hit.saved), own)
    if start.saved is None:
        staged.tell(Notice(f"the disk that was kept is not used: {start.reason}", is_warning=True))
        return ""
    try:
        await off_loop(lambda: build_keys.take_over(staged, hit.saved.memory.parent, key=hit.key))
    except VmkilnError as error:  # its bytes are not searched for them then, and the verdict says so
        staged.tell(Notice(f"the keys of the build that was kept are not known: {error.message}", is_warning=True))
    fact = kept_builds.fact_of(hit)
    await off_loop(staged.host.store.runs.add_facts, staged.request.run_id, checkpoint=fact)
    return kept_builds.tell_whole(staged, name, hit)


async def keep(staged: Staged, build: KeptBuild, disk: Path) -> None:
    """Keep the disk of a VM that has powered itself off behind its last step. A build never fails for it."""
    position = position_of(build)
    if position is None:
        return
    try:
        await off_loop(_kept, staged, build, position, disk)
    except (VmkilnError, OSError) as error:
        text = error.message if isinstance(error, VmkilnError) else str(error)
        staged.tell(Notice(f"the disk is not kept for later builds: {text}"))


def _kept(staged: Staged, build: KeptBuild, position: Position, disk: Path) -> None:
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
        build_keys.keep(staged, workplace, key=position.key)
        saved_vm.finished(
            workplace,
            b"",
            _digest_of(workplace / saved_vm.MEMORY),
            source=staged.source.digest,
            about=checkpoint.record_of(about),
        )
        keeping.named(settings, workplace, position.key)


def _digest_of(file: Path) -> str:
    descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return memory_file.digest_of(descriptor)
    finally:
        os.close(descriptor)
