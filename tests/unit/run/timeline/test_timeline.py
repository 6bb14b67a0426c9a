"""What a run tells becomes parts of its timeline, and what it took is shared out to them."""

from datetime import UTC, datetime, timedelta

import pytest

from vmkiln.host.usage.process_tree import Usage
from vmkiln.packer.packer_template import DEPROVISION_NAME
from vmkiln.run.run_event import Notice, PartEnded, PartStarted, PhaseStarted, StepStarted, Used
from vmkiln.run.timeline.timeline import MOST_PARTS, Timeline
from vmkiln.run_state import PartKind, Phase, Start

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    """A timeline whose time is set by hand, in seconds."""

    def __init__(self) -> None:
        self.now = NOW
        self.changes = 0
        self.timeline = Timeline("r", 1, clock=lambda: self.now, on_change=self.changed)

    def changed(self) -> None:
        self.changes += 1

    def at(self, seconds: float, *events: object) -> None:
        self.now = NOW + timedelta(seconds=seconds)
        for event in events:
            self.timeline.note(event)  # type: ignore[arg-type]

    def told(self) -> list[tuple[str, str, float | None]]:
        return [(str(part.kind), part.name, part.seconds) for part in self.timeline.parts]


def phase(which: Phase) -> PhaseStarted:
    return PhaseStarted(which, NOW)


def step(index: int, count: int, name: str, where: Phase = Phase.CUSTOMIZING) -> StepStarted:
    return StepStarted(where, index, count, name)


def test_a_run_from_the_queue_to_the_clean_up() -> None:
    clock = Clock()
    clock.at(0, phase(Phase.BUILDING))
    clock.timeline.waited(NOW - timedelta(seconds=30))
    clock.at(2, phase(Phase.CUSTOMIZING))
    clock.at(40, step(0, 2, "install"), Notice("x"))
    clock.at(45, step(0, 2, "install"))  # Packer tries once more
    clock.at(50, step(1, 2, "deprovision"))  # a customizer may be called so
    clock.at(55, step(2, 2, DEPROVISION_NAME))
    clock.at(58, PartStarted(PartKind.POWER_OFF))
    clock.at(60, phase(Phase.VALIDATING))
    clock.at(80, step(0, 1, "check", Phase.VALIDATING))
    clock.at(81, phase(Phase.DISTRIBUTING))
    clock.at(82, PartStarted(PartKind.FLATTEN))
    clock.at(84, PartStarted(PartKind.PUBLISH, "image"))
    clock.at(85, phase(Phase.CLEANING_UP))
    clock.at(86)
    clock.timeline.end()
    clock.timeline.end()
    assert clock.told() == [
        ("queue", "", 30), ("staging", "", 2), ("boot", "build-vm", 38), ("customizer", "install", 10),
        ("customizer", "deprovision", 5), ("deprovision", "", 3), ("powerOff", "", 2), ("boot", "validation-vm", 20),
        ("validation", "check", 1), ("flatten", "", 2), ("publish", "image", 1), ("cleanUp", "", 1),
    ]  # fmt: skip
    assert [part.number for part in clock.timeline.parts] == list(range(12))


def test_the_part_that_goes_on_has_no_end_and_says_its_start() -> None:
    clock = Clock()
    clock.at(0, phase(Phase.CUSTOMIZING))
    assert clock.told() == [("boot", "build-vm", None)]
    clock.at(1, PartStarted(PartKind.BOOT, "build-vm", Start.WARM))
    assert [(part.start, part.ended) for part in clock.timeline.parts] == [(Start.WARM, None)]
    assert clock.changes == 1, "it is written when a part begins, and when the last one ends"


def test_a_part_beside_the_others_ends_none_of_them_and_takes_no_share() -> None:
    clock = Clock()
    clock.at(0, phase(Phase.VALIDATING), Used(Usage(0.0, 1)))
    clock.at(1, PartStarted(PartKind.FLATTEN, is_beside=True))
    clock.timeline.waited(NOW)
    clock.at(2, Used(Usage(2.0, 1)))
    clock.at(3, PartEnded(PartKind.FLATTEN))
    clock.at(4, Used(Usage(4.0, 1)))
    clock.at(5, step(0, 1, "check", Phase.VALIDATING), PartStarted(PartKind.FLATTEN, is_beside=True))
    clock.at(6)
    clock.timeline.end_all()
    assert clock.told()[1:] == [("boot", "validation-vm", 5), ("flatten", "", 2), ("validation", "check", 1),
        ("flatten", "", 1)]  # fmt: skip
    assert [part.cpu_seconds for part in clock.timeline.parts[1:]] == [4.0, None, None, None]


def test_a_part_that_nothing_follows_at_once_has_its_own_end() -> None:
    """A checkpoint ends when the VM goes on; what Packer does until its next step is not what a checkpoint costs."""
    clock = Clock()
    clock.at(0, phase(Phase.CUSTOMIZING))
    clock.at(1, step(0, 2, "one"), PartEnded(PartKind.CHECKPOINT, "one"))
    clock.at(2, PartStarted(PartKind.CHECKPOINT, "one"))
    clock.at(3, PartEnded(PartKind.CHECKPOINT, "another"))
    clock.at(4, PartEnded(PartKind.CHECKPOINT, "one"))
    clock.at(6, step(1, 2, "two"))
    assert clock.told() == [
        ("boot", "build-vm", 1), ("customizer", "one", 1), ("checkpoint", "one", 2), ("customizer", "two", None),
    ]  # fmt: skip


def test_what_was_taken_goes_to_the_parts_by_their_share_of_the_time() -> None:
    clock = Clock()
    clock.at(0, phase(Phase.CUSTOMIZING), Used(Usage(4.0, 100)))
    clock.at(3, step(0, 1, "install"))
    clock.at(4, Used(Usage(8.0, 700)))
    clock.at(5, Used(Usage(8.5, 300)))
    boot, install = clock.timeline.parts
    assert (boot.cpu_seconds, boot.peak_kib) == (pytest.approx(4.0 + 4.0 * 3 / 4), 700)
    assert (install.cpu_seconds, install.peak_kib) == (pytest.approx(1.0 + 0.5), 700)


def test_a_part_before_the_first_look_took_nobody_knows_what() -> None:
    clock = Clock()
    clock.at(0, phase(Phase.BUILDING))
    clock.at(1, phase(Phase.CUSTOMIZING))
    clock.at(2, Used(Usage(4.0, 100)))
    staging, boot = clock.timeline.parts
    assert (staging.cpu_seconds, staging.peak_kib) == (None, None)
    assert boot.peak_kib == 100


def test_a_timeline_has_a_bound() -> None:
    clock = Clock()
    for number in range(MOST_PARTS + 5):
        clock.at(number, PartStarted(PartKind.GATE, str(number)))
    assert len(clock.timeline.parts) == MOST_PARTS
