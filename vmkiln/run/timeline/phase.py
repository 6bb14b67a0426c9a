"""Entering a phase of a run: it is recorded, then told."""

from vmkiln.run.run_context import BuildHost, RunRequest, Tell
from vmkiln.run.run_event import PhaseStarted
from vmkiln.run_state import Phase
from vmkiln.waiting.off_loop import off_loop


async def begin(host: BuildHost, request: RunRequest, tell: Tell, phase: Phase) -> None:
    """The run enters `phase`; the one before has ended. Raises: `RunTakenOver`."""
    await off_loop(host.store.runs.begin_phase, request.run_id, phase)
    tell(PhaseStarted(phase, host.store.now()))
