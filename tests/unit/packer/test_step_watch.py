"""Whether the VM stayed up under each step, and what a restart means."""

from pathlib import Path

import pytest

from vmkiln.packer import step_watch
from vmkiln.packer.packer_output import (
    BuildError,
    CheckpointReached,
    Connected,
    PackerEvent,
    RestartBegun,
    RestartComing,
    RestartDone,
    ScriptEnded,
    ScriptLost,
    ScriptStarted,
    StepReached,
)
from vmkiln.packer.packer_template import Checkpoint, Deprovision, FileCopy, InlineShell, ScriptShell, Step
from vmkiln.packer.step_watch import StepWatch, asking_for_restart
from vmkiln.windows.steps import PowerShell, Restart, Update

STEPS: tuple[Step, ...] = (
    InlineShell("first", "properties.customize[0]", ("sudo reboot", "sleep 60")),
    InlineShell("second", "properties.customize[1]", ("make",)),
    Deprovision(),
)
FIRST, SECOND = ScriptStarted("boot-1"), ScriptStarted("boot-2")
RESET = "RESET"


async def watched(*events: PackerEvent | str) -> tuple[StepWatch, list[str]]:
    watch = StepWatch("build-vm", STEPS, asking_for_restart(STEPS))
    said: list[str] = []
    for event in (Connected(), StepReached(0), *events):
        said += watch.restarted() if isinstance(event, str) else watch.note(event)
    return watch, said


async def test_a_restart_between_two_steps_breaks_nothing() -> None:
    events = (StepReached(1), FIRST, ScriptEnded(0), RestartComing(), RESET, StepReached(2), SECOND, ScriptEnded(0))
    watch, said = await watched(*events)
    assert watch.ended(0) == 0
    assert said == [
        "`second` restarts the build-vm, or turns it off; waiting for that",
        "the build-vm restarts during `second`; waiting until Packer can log in again",
        "the build-vm is back after its restart",
    ]


async def test_a_script_that_asks_for_the_restart_may_be_cut_short_by_it() -> None:
    watch, _ = await watched(StepReached(0), FIRST, RESET, StepReached(1), SECOND, ScriptEnded(0))
    assert not watch.broken.done()
    assert watch.ended(0) == 0


async def test_a_script_that_was_cut_short_without_asking_breaks_the_build() -> None:
    watch, _ = await watched(StepReached(1), FIRST, RESET, StepReached(2), SECOND)
    assert watch.broken.result().startswith("the build-vm restarted while its script ran, which does not ask for that")
    assert watch.current == STEPS[1]
    assert watch.ended(0) == 1


async def test_the_last_step_is_held_to_it_too() -> None:
    watch, _ = await watched(StepReached(1), FIRST, RESET)
    assert watch.ended(0) == 1
    assert "restarted while its script ran" in watch.error
    watch, _ = await watched(StepReached(0), FIRST, RESET)
    assert watch.ended(0) == 0


async def test_a_connection_that_breaks_in_the_midst_breaks_the_build() -> None:
    watch, _ = await watched(StepReached(0), FIRST, StepReached(1), FIRST)
    assert "connection to the build-vm broke" in watch.broken.result()
    assert watch.current == STEPS[0]
    watch, _ = await watched(StepReached(0), FIRST)
    assert watch.ended(0) == 1
    assert "connection to the build-vm broke" in watch.error


async def test_a_script_that_a_restart_took_away_is_named() -> None:
    watch, _ = await watched(StepReached(0), FIRST, ScriptEnded(0), StepReached(1), RESET, SECOND, ScriptLost())
    assert "restarted before its script began" in watch.broken.result()
    assert watch.current == STEPS[1]


async def test_a_failure_after_a_restart_says_that_there_was_one() -> None:
    watch, _ = await watched(StepReached(1), FIRST, ScriptEnded(0), RESET, BuildError("Error uploading: EOF."))
    assert watch.ended(1) == 1
    assert watch.error == "Error uploading: EOF; the build-vm restarted during this step"


async def test_the_status_of_the_last_script_is_known() -> None:
    watch, _ = await watched(StepReached(1), FIRST, ScriptEnded(0), StepReached(2), FIRST, ScriptEnded(127))
    assert (watch.status, watch.ended(1)) == (127, 1)


async def test_a_login_is_waited_for_until_the_vm_is_back() -> None:
    watch, _ = await watched(StepReached(0), FIRST, ScriptEnded(0), RESET)
    assert not watch.is_connected.is_set()
    watch.note(StepReached(1))
    assert watch.is_connected.is_set()


@pytest.mark.parametrize(
    "text",
    [
        "sudo reboot",
        "shutdown -r now",
        "systemctl reboot",
        "init 6",
        "echo b > /proc/sysrq-trigger",
        "/sbin/reboot -f",
        "kexec -e",
    ],
)
def test_a_script_is_known_to_ask_for_a_restart_by_its_words(text: str, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text(f"#!/bin/sh\nmake\n{text}\n")
    steps = (InlineShell("a", "a", ("make",)), InlineShell("b", "b", (text,)), ScriptShell("c", "c", script))
    assert asking_for_restart((*steps, FileCopy("d", "d", script, "/reboot"))) == {1, 2}


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ((StepReached(2),), "step 3 of 3 is told after step 1"),
        ((StepReached(1), StepReached(0)), "step 1 of 3 is told after step 2"),
        ((StepReached(1), StepReached(2), StepReached(3)), "step 4 of 3 is told after step 3"),
        ((StepReached(9999),), "step 10000 of 3"),
    ],
)
async def test_steps_out_of_their_order_are_untrue(told: tuple[PackerEvent, ...], words: str) -> None:
    watch, _ = await watched(*told)
    assert words in watch.untrue.result()


async def test_steps_are_complete_when_the_last_began_in_its_turn() -> None:
    watch, _ = await watched(StepReached(1))
    assert not watch.is_complete.is_set()
    watch.note(StepReached(1))  # Packer tries a step again
    watch.note(StepReached(2))
    assert watch.is_complete.is_set()
    assert not watch.untrue.done()
    assert StepWatch("validation-vm", ()).is_complete.is_set()


SCRIPT = PowerShell("script", "p", ("dir",))
RESTART = Restart("restart", "p", "", "", 300)
UPDATE = Update("update", "p", "", (), 10, rounds=2)


async def test_a_restart_is_the_step_after_the_one_that_packer_named() -> None:
    watch = StepWatch("build-vm", (SCRIPT, RESTART, RESTART, SCRIPT))
    for number, event in enumerate((StepReached(0), RestartBegun(), RestartBegun(), StepReached(3))):
        watch.note(event)
        assert watch.step == number
        if isinstance(watch.current, Restart):
            watch.restarted()
            watch.note(RestartDone())
    assert watch.is_complete.is_set()
    assert watch.ended(0) == 0
    assert not watch.untrue.done()


async def test_the_restarts_of_a_round_of_updates_are_not_the_next_steps() -> None:
    watch = StepWatch("build-vm", (UPDATE, RESTART))
    for _ in range(UPDATE.rounds):
        watch.note(StepReached(0))
        watch.note(RestartBegun())
        watch.note(RestartDone())
        assert watch.step == 0
    assert not watch.broken.done(), "a round may restart nothing"
    watch.note(StepReached(0))
    watch.note(RestartBegun())
    assert watch.step == 1


async def test_a_restart_step_in_which_the_vm_was_not_reset_breaks_the_build() -> None:
    watch = StepWatch("build-vm", (RESTART,))
    watch.note(RestartBegun())
    watch.note(RestartDone())
    assert watch.broken.result() == (
        "`restart` did not restart the build-vm: its command came to its end, and no restart was seen"
    )
    assert watch.ended(0) == 1


async def test_a_restart_has_its_time_and_two_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_watch, "RESTART_GRACE_SECONDS", 0)
    watch = StepWatch("build-vm", (Restart("restart", "p", "", "", 0), SCRIPT))
    watch.note(RestartBegun())
    assert (await watch.broken).startswith("`restart` is not over after 0 s")
    monkeypatch.setattr(step_watch, "ROUND_RESTART_SECONDS", 0)
    rounds = StepWatch("build-vm", (UPDATE,))
    rounds.note(StepReached(0))
    rounds.note(RestartBegun())
    assert (await rounds.broken).startswith("`update` is not over after 0 s")
    watch.note(StepReached(1))
    assert watch.step == 0, "the build is over at the step that broke it"


async def test_a_restart_in_a_script_is_named_and_one_of_updates_is_usual() -> None:
    script, update = (StepWatch("build-vm", (step, SCRIPT)) for step in (SCRIPT, UPDATE))
    for watch in (script, update):
        watch.note(StepReached(0))
        watch.restarted()
    assert script.broken.result().startswith("the build-vm restarted during `script`")
    assert script.ended(0) == 1, "whatever Packer makes of it"
    update.note(BuildError("exit 1."))
    assert (update.ended(1), update.error) == (1, "exit 1.")


async def test_a_checkpoint_is_told_behind_each_script_that_succeeded() -> None:
    kept = InlineShell("kept", "a", ("true",), Checkpoint(1, ""))
    watch = StepWatch("build-vm", (kept, FileCopy("copy", "b", Path("/c"), "/d"), Checkpoint(2, ""), *STEPS))
    told: list[list[tuple[int, str]]] = []
    for events in (
        (StepReached(0), FIRST),
        (ScriptEnded(1), CheckpointReached("a")),
        (StepReached(0), FIRST, ScriptEnded(0), CheckpointReached("b")),
        (StepReached(1), StepReached(2), FIRST, ScriptEnded(0)),
        (CheckpointReached("c"),),
        (StepReached(3), FIRST, ScriptEnded(0), CheckpointReached("d")),
    ):
        for event in events:
            watch.note(event)
        told.append([watch.checkpoints.get_nowait() for _ in range(watch.checkpoints.qsize())])
    assert told == [[], [], [(1, "b")], [], [(2, "c")], []]


async def test_checkpoints_without_end_are_passed_over() -> None:
    watch = StepWatch("build-vm", (InlineShell("kept", "a", ("true",), Checkpoint(1, "")),))
    for event in (StepReached(0), FIRST, ScriptEnded(0), *[CheckpointReached("a")] * 2 * step_watch.MOST_CHECKPOINTS):
        watch.note(event)
    assert watch.checkpoints.qsize() == step_watch.MOST_CHECKPOINTS


@pytest.mark.parametrize("is_told_first", [True, False])
async def test_a_time_out_takes_the_place_of_no_reason(is_told_first: bool) -> None:
    reason, late = BuildError("401."), BuildError("too late.", has_reason=False)
    watch, _ = await watched(*((reason, late) if is_told_first else (late, reason)))
    assert watch.error == "401."
