"""What of a build is kept, what a build begins behind, and the steps that are left then.

*Leaves behind:* nothing; `keeping.py` does. *Undone by:* nothing to undo. *Safe to repeat:* yes.
"""

import functools
import hashlib
import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

from vmkiln.buildable.start_tags import KEPT_TAG, never_kept
from vmkiln.errors import StorageFailed
from vmkiln.host.saved import saved_vm
from vmkiln.packer.packer_template import (
    Checkpoint,
    FileCopy,
    InlineShell,
    ScriptShell,
    Step,
    default_deprovisioning,
    run_command,
)
from vmkiln.packer.step_watch import asking_for_restart
from vmkiln.run.checkpoints import sharing
from vmkiln.run.checkpoints.file_search import why_never_kept
from vmkiln.run.checkpoints.prefix import Content, Position, positions
from vmkiln.run.checkpoints.sharing import Sharer
from vmkiln.run.run_context import Staged
from vmkiln.run.run_event import Notice, PartStarted
from vmkiln.run.starts.build_vm_start import base_of, why_cold
from vmkiln.run_state import PartKind, Start
from vmkiln.secrecy.secret_mask import SecretMask
from vmkiln.setting_texts.declaration import Checkpoints
from vmkiln.settings import Settings
from vmkiln.store.rows import ResourceRow
from vmkiln.store.run_facts import CheckpointFact
from vmkiln.waiting.off_loop import off_loop
from vmkiln.warm import checkpoint, saved_base
from vmkiln.warm.checkpoint_step import new_token, visit
from vmkiln.windows.steps import WindowsStep

log = logging.getLogger(__name__)
SLSA = "what an earlier run left is in this image, so its build was not isolated in SLSA's sense"


@dataclass(frozen=True)
class KeptBuild:
    """What may be kept of a build: behind which customizers, under which keys, for whom.

    `reason` is why nothing is kept, or not all; '' when all is. `is_whole` says that every customizer may be kept, so
    that what is behind the last step may be, too. `restarting` has the numbers of customizers that may restart the VM.
    `token` is this run's word to its VM. `since` is from when the first of it is, in seconds since 1970: the beginning
    of this build, or of the one that it began behind. `sharers` are others that it may begin behind.
    """

    positions: tuple[Position, ...] = ()
    reason: str = ""
    scope: str = ""
    token: str = field(default_factory=new_token, repr=False)
    since: float = 0
    restarting: frozenset[int] = frozenset()
    is_whole: bool = False
    sharers: tuple[Sharer, ...] = ()

    def steps_behind(self, first: int, customizers: Sequence[Step | WindowsStep]) -> tuple[Step | WindowsStep, ...]:
        """The customizers from number `first` on, counted from 0, each with its checkpoint behind it; pure."""
        numbers = {one.number for one in self.positions}
        found: list[Step | WindowsStep] = []
        for number, step in enumerate(customizers[first:], start=first + 1):
            checkpoint = Checkpoint(number, visit(self.token))
            if number not in numbers:
                found.append(step)
            elif isinstance(step, InlineShell | ScriptShell) and number not in self.restarting:
                found.append(replace(step, checkpoint=checkpoint))
            else:  # a VM that restarts goes down behind the script, and is kept when it is back
                found += [step, checkpoint]
        return tuple(found)

    def at(self, number: int) -> Position:
        """The position behind this customizer."""
        return next(one for one in self.positions if one.number == number)


NOTHING_KEPT = KeptBuild()


def why_none(settings: Settings, tags: Mapping[str, str], *, template_id: str) -> str:
    """Why nothing of a build is kept, as far as the host and the template say it; '' when something may be; pure."""
    wanted = next((value.strip().lower() for name, value in tags.items() if name.lower() == KEPT_TAG), "")
    if settings.checkpoints is Checkpoints.NONE:
        return "the setting checkpoints is none"
    if settings.most_saved_vms_mib <= 0:
        return "the setting most_saved_vms_mib is 0"
    if wanted == "false":
        return f"the tag `{KEPT_TAG}` is false"
    if template_id and settings.checkpoints is not Checkpoints.ALL and wanted != "true":
        return f"neither the setting checkpoints nor the tag `{KEPT_TAG}` asks for it"
    return ""


async def kept_build_of(staged: Staged, customizers: Sequence[Step | WindowsStep], *, name: str) -> KeptBuild:
    """What may be kept of this run's build. It never fails for it."""
    request = staged.request
    template = request.template
    settings = staged.host.settings
    if reason := why_none(settings, template.tags, template_id=request.template_id) or why_cold(staged):
        return KeptBuild(reason=reason)
    scope = checkpoint.scope_of(
        template_id=request.template_id, resource_group=request.resource_group, name=request.template_name
    )
    try:
        base = base_of(staged.host, staged.source, staged.shape, staged.network, name=name)
        before = {
            "kind": "checkpoint",
            "scope": scope,  # or templates that begin alike would delete and refuse each other's
            "group": staged.group.name if request.template_id else "",  # another when one of its name is made anew
            "base": await saved_base.facts_of(base),
            **_surroundings(staged),
        }
        contents = await off_loop(_contents, staged, customizers)
        keyed = functools.partial(positions, contents=contents, mask=request.mask, never=never_kept(template.tags))
        found = keyed(before)
        sharers = [
            replace(one, positions=keyed(sharing.facts_of(before, one)).kept)
            for one in await off_loop(_sharers, staged, scope)
        ]
        restarting = await off_loop(asking_for_restart, customizers)
    except OSError as error:
        return KeptBuild(reason=f"a file that is part of it cannot be read: {error.strerror}")
    numbers = frozenset(index + 1 for index in restarting)
    is_whole = not found.reason and bool(found.kept)
    return KeptBuild(found.kept, found.reason, scope, restarting=numbers, is_whole=is_whole, sharers=tuple(sharers))


def _sharers(staged: Staged, scope: str) -> list[Sharer]:
    """The other templates whose checkpoints this build may begin behind."""
    settings = staged.host.settings
    if not (settings.share_checkpoints and staged.request.uses_checkpoints):
        return []

    def lends(row: ResourceRow) -> bool:
        return not why_none(settings, row.tags, template_id=row.id)

    try:
        return sharing.sharers_of(settings.saved_vms, scope, staged.host.store, lends=lends)
    except StorageFailed as error:
        log.warning("whose checkpoints may be shared cannot be read: %s", error)
        return []


async def longest_kept(staged: Staged, build: KeptBuild) -> checkpoint.Checkpoint | None:
    """The checkpoint behind the most customizers that this build may begin from; none when there is none."""
    if not staged.request.uses_checkpoints:
        return None
    folder, most_age = staged.host.settings.saved_vms, staged.request.most_checkpoint_age_seconds

    def find(key: str, scope: str) -> checkpoint.Checkpoint | None:
        if saved_vm.is_refused(folder, key):
            return None
        hit = checkpoint.found(folder, key, scope, most_age_seconds=most_age, now=time.time())
        return hit and replace(hit, lent_by="" if scope == build.scope else checkpoint.lender_of(scope))

    def look() -> checkpoint.Checkpoint | None:
        for one in reversed(build.positions):
            if hit := find(one.key, build.scope) or sharing.newest(build.sharers, one.number, find):
                return hit
        return None

    try:
        return await off_loop(look)
    except OSError as error:
        log.warning("what is kept of builds cannot be read: %s", error)
        return None


def tell_hit(staged: Staged, name: str, hit: checkpoint.Checkpoint, *, count: int) -> str:
    """Tell the user, and the timeline, that the build begins behind a checkpoint; gives the sentence."""
    place = f"behind customizer {hit.about.position} of {count} (`{hit.about.step}`)"
    return _told_kept(staged, name, hit, f"the {name} goes on {place}, as {_left_by(staged, hit)} left it")


def tell_whole(staged: Staged, name: str, hit: checkpoint.Checkpoint) -> str:
    """Tell the user, and the timeline, that nothing is left to be done to the disk; gives the sentence."""
    said = f"no step has changed, so none runs: the disk of the {name} is as {_left_by(staged, hit)} left it"
    return _told_kept(staged, name, hit, said)


def _left_by(staged: Staged, hit: checkpoint.Checkpoint) -> str:
    if hit.lent_by:
        return f"run {hit.about.run_id[:8]} of another template of this resource group ({hit.lent_by})"
    return "this run before" if hit.about.run_id == staged.request.run_id else f"run {hit.about.run_id[:8]}"


def _told_kept(staged: Staged, name: str, hit: checkpoint.Checkpoint, said: str) -> str:
    minutes = round(hit.age_seconds(time.time()) / 60)
    text = f"{said}, the first of it {minutes} minutes ago ({hit.key[:16]}); {SLSA}"
    staged.tell(Notice(text))
    staged.tell(PartStarted(PartKind.BOOT, name, Start.KEPT))
    return text


def fact_of(hit: checkpoint.Checkpoint) -> CheckpointFact:
    """What the run keeps of the checkpoint that it began behind."""
    fact: CheckpointFact = {
        "key": hit.key,
        "run_id": hit.about.run_id,
        "position": hit.about.position,
        "step": hit.about.step,
        "age_seconds": round(hit.age_seconds(time.time())),
        "no_persistence": False,
    }
    return {**fact, "lent_by": hit.lent_by} if hit.lent_by else fact


def _surroundings(staged: Staged) -> dict[str, object]:
    """What a customizer may see beside its VM: the network, its rules, the template's identity, what runs the steps."""
    template, image = staged.request.template, staged.host.container_image
    return {
        "network": repr(staged.network),
        "identity": _as_text(template, "identity"),
        "vm_profile": _as_text(template.properties, "vm_profile"),
        "container_image": image.digest,
        "packer": image.packer_version,
        "steps_by": hashlib.sha256(run_command(default_deprovisioning()).encode()).hexdigest(),
        "checkpoint_by": hashlib.sha256(visit("").encode()).hexdigest(),
    }


def _as_text(model: object, name: str) -> str:
    value = getattr(model, name, None)
    dump = getattr(value, "model_dump", None)
    return json.dumps(dump(mode="json") if dump is not None else value, sort_keys=True, default=str)


def _contents(staged: Staged, customizers: Sequence[Step | WindowsStep]) -> list[Content]:
    """What each customizer does, with the digests of the copies of scripts and files."""
    declared = staged.request.template.properties.customize
    steps = cast("Sequence[Step]", customizers)  # a Windows VM is always booted, and nothing of it kept
    mask = staged.request.mask
    return [_content(step, repr(one), mask) for step, one in zip(steps, declared, strict=True)]


def _content(step: Step, template_text: str, mask: SecretMask) -> Content:
    if not isinstance(step, ScriptShell | FileCopy):
        return Content(step, "", template_text)
    source: Path = step.source
    with source.open("rb") as file:
        finding = why_never_kept(file, source.stat().st_size, mask)
        file.seek(0)
        return Content(step, hashlib.file_digest(file, "sha256").hexdigest(), template_text, finding)
