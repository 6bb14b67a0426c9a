"""`optimize.vmBoot`: what a first boot needs not wait for is taken away, where measured boots show that it helps.

The inspection VM does that, on overlays: nothing of the image runs, so what the user left for its first boot is still
to come. Both disks are then booted in turns as validation VM, on throw-away overlays, and the fastest boots of each are
compared. What does not help, or does not boot, is thrown away, and the image is what it was.

*Leaves behind:* overlays in the run's folder, validation.log, a fact of the run. *Undone by:* the deletion of the run's
folder. *Safe to repeat:* yes; what an earlier attempt of the run decided for the same disks is not measured again.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from vmkiln.buildable.release_demands import leaves_out_boot
from vmkiln.image_contents.contents import ImageContents
from vmkiln.inspecting import kept_contents
from vmkiln.inspecting.trims import in_words
from vmkiln.run.customizing import note_in_log
from vmkiln.run.gates import boot_gate, hygiene_gate
from vmkiln.run.guest import choice
from vmkiln.run.run_context import Disks, Entered, Staged
from vmkiln.run.run_event import Notice, PartStarted
from vmkiln.run.timeline.phase import begin
from vmkiln.run_failures import InspectionFailed, LoginTimedOut, VirtualMachineLost
from vmkiln.run_state import PartKind, Phase
from vmkiln.store.run_facts import VmBootFact
from vmkiln.template.image_template import OnOff
from vmkiln.waiting.off_loop import off_loop

TRIMMED = "build-vm-trimmed"  # the name of the overlays' files
ROUNDS = 2  # boots of each disk, in turns: one that the host was busy in is not the fastest
LEAST_GAIN_SECONDS = 0.3


@dataclass(frozen=True)
class Optimized:
    """The disks to go on with, a digest of what they are made of, and the seconds of their fastest measured boot."""

    disks: Disks
    digest: str
    seconds: float | None = None


async def optimized(entered: Entered, disks: Disks, *, digest: str) -> Optimized:
    """The disks as `optimize.vmBoot` wants them; these when template or settings do not want it, or it does not help.

    `digest` is that of the customized disks.
    """
    staged = entered.staged
    unchanged = Optimized(disks, digest)
    is_asked_for = staged.request.template.properties.optimize.vm_boot.state is OnOff.ENABLED
    if not is_asked_for or not staged.host.settings.optimize_boot:
        return unchanged
    if (reason := _not_here(staged)) is not None:
        await _said(staged, f"left as it was: {reason}", is_warning=True)
        return unchanged
    await begin(staged.host, staged.request, staged.tell, Phase.OPTIMIZING)
    before = await off_loop(lambda: staged.host.store.runs.find(staged.request.run_id).facts.get("vm_boot"))
    decided = before if before and before["digest"] == digest else None
    if decided is not None and not decided["is_kept"]:
        return unchanged
    contents = await off_loop(kept_contents.kept, staged.directory)
    trimmed, names = await _trimmed(entered, disks)
    if not names:
        await _thrown_away(staged, contents)
        if before:  # what the attempt before took away is in the image of this one
            await off_loop(_note, staged, {**before, "is_kept": False})
        await _said(staged, "left as it was: nothing was found that a first boot could do without")
        return unchanged
    made = Optimized(trimmed, _digest_of(digest, names))
    if decided is not None and decided["trimmed"] == list(names):
        return made
    fact = await _measured(entered, disks, trimmed, names, digest)
    await off_loop(_note, staged, fact)
    await _said(staged, sentence(fact))
    if fact["is_kept"]:
        return Optimized(made.disks, made.digest, min(fact["seconds_after"]))
    await _thrown_away(staged, contents)
    seconds = fact["seconds_before"]
    return Optimized(disks, digest, min(seconds) if seconds else None)


def _note(staged: Staged, fact: VmBootFact) -> None:
    staged.host.store.runs.add_facts(staged.request.run_id, vm_boot=fact)


def _not_here(staged: Staged) -> str | None:
    """Why nothing is done for this image; none when something may be; pure."""
    if choice.is_windows(staged):
        return "this is done for Linux only"
    if leaves_out_boot(staged.request.template.tags):
        return "the template's tag says that nobody can log in to the image, so no boot of it can be measured"
    return None


async def _trimmed(entered: Entered, disks: Disks) -> tuple[Disks, tuple[str, ...]]:
    """The disks without what a first boot can do without, on overlays of their own, and what that was."""
    entered.staged.tell(PartStarted(PartKind.GATE, "vmBoot"))
    try:
        upon, contents = await hygiene_gate.cleared(entered, disks, TRIMMED, trim=True)
    except (InspectionFailed, VirtualMachineLost) as error:
        entered.staged.tell(Notice(f"vmBoot: {error.message}", is_warning=True))
        return disks, ()
    changed = [volume for volume in contents.volumes if volume.trimmed]
    if any(volume.given_back_bytes is None for volume in changed):
        return disks, ()  # what was overwritten may still lie there
    return upon, tuple(sorted({name for volume in changed for name in volume.trimmed}))


async def _measured(entered: Entered, disks: Disks, trimmed: Disks, names: Sequence[str], digest: str) -> VmBootFact:
    before: list[float] = []
    after: list[float] = []
    for number in range(1, ROUNDS + 1):
        took = await _boot(entered, disks, f"before {number}")
        if took is None:
            before, after = [], []
            break
        before.append(took)
        took = await _boot(entered, trimmed, f"after {number}")
        if took is None:
            after = []
            break
        after.append(took)
    return VmBootFact(
        is_kept=is_faster(before, after),
        trimmed=list(names),
        seconds_before=before,
        seconds_after=after,
        digest=digest,
    )


def is_faster(before: Sequence[float], after: Sequence[float]) -> bool:
    """Whether the fastest boot became faster, by more than a clock's rounding; not when one of them failed; pure."""
    return bool(before and after) and min(after) <= min(before) - LEAST_GAIN_SECONDS


async def _boot(entered: Entered, disks: Disks, name: str) -> float | None:
    """The seconds until a script ran in a VM of these disks; none when that does not come."""
    staged = entered.staged
    staged.tell(PartStarted(PartKind.BOOT, f"vmBoot {name}"))

    def tell_failure(error: str) -> None:
        staged.tell(Notice(f"vmBoot: Packer failed before a script ran: {error}", is_warning=True))

    try:
        result, seconds = await boot_gate.tried(entered, disks, phase=Phase.OPTIMIZING, tell_failure=tell_failure)
    except (LoginTimedOut, VirtualMachineLost) as error:
        staged.tell(Notice(f"vmBoot: {error.message}", is_warning=True))
        return None
    finally:
        await off_loop(boot_gate.throw_away, staged)
    return seconds if result.outcome.exit_status == 0 else None


async def _thrown_away(staged: Staged, contents: ImageContents | None) -> None:
    """What is in the image is again what an earlier look found."""
    await off_loop(boot_gate.throw_away, staged, TRIMMED)
    await off_loop(kept_contents.put_back, staged.directory, contents)


async def _said(staged: Staged, text: str, *, is_warning: bool = False) -> None:
    staged.tell(Notice(f"vmBoot: {text}", is_warning=is_warning))
    await off_loop(note_in_log, staged, f"vmBoot: {text}")


def sentence(fact: VmBootFact) -> str:
    """What was measured, and what followed from it; pure."""
    without = f"without {in_words(fact['trimmed'])}"
    if not fact["seconds_before"]:
        return "left as it was: the image did not boot to a login, so nothing could be measured"
    before = f"the first boot took {min(fact['seconds_before']):g} s"
    if not fact["seconds_after"]:
        return f"left as it was: {before}, and {without} it did not come to a login"
    after = f"{min(fact['seconds_after']):g} s {without} (fastest of {len(fact['seconds_after'])} each)"
    return f"{before}, and {after}: {'kept' if fact['is_kept'] else 'no gain, so the image is left as it was'}"


def _digest_of(digest: str, names: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(["vmBoot-1", digest, *names]).encode()).hexdigest()
