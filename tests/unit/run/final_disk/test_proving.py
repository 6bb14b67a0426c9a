"""What the gates of a finished disk put on record."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vmkiln.host.qemu import Disk
from vmkiln.run import validating
from vmkiln.run.final_disk import flattening, proving
from vmkiln.run.final_disk.proving import Proven
from vmkiln.run.finished.finished_work import FinishedWork
from vmkiln.run.gates import boot_gate
from vmkiln.run.gates.release_gate import unmet_demands
from vmkiln.run.run_context import Disks
from vmkiln.run.run_event import Notice, StepFailed
from vmkiln.run_failures import ValidationFailed
from vmkiln.setting_texts.release_policy import Demand

DISKS = Disks(Disk(Path("/os"), "qcow2"))


@dataclass(frozen=True)
class Work:
    """As much of finished work as the gates change."""

    is_validated: bool = False
    validation_error: str = ""
    validated: str = ""
    digest: str = "d"
    is_validated_as = FinishedWork.is_validated_as
    validation_failure = None


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[Work]:
    """What is put on record; nothing is begun or flattened."""
    found: list[Work] = []

    async def nothing(*_: object, **__: object) -> None:
        """What has no part in it."""

    monkeypatch.setattr(proving, "begin", nothing)
    monkeypatch.setattr(flattening, "prepared", nothing)
    monkeypatch.setattr(proving, "record", lambda _store, _run, work: found.append(work))
    return found


class Facts(dict[str, Any]):
    """What is on record of one run, as a store has it."""

    def find(self, _run_id: str) -> Any:
        return SimpleNamespace(facts=self)

    def add_facts(self, _run_id: str, **facts: Any) -> None:
        self.update(facts)


@pytest.fixture
def staged() -> Any:
    """A run whose failed validation does not stop it."""
    properties = SimpleNamespace(
        validation=SimpleNamespace(in_vm_validations=(1,), continue_distribute_on_failure=True),
        error_handling=SimpleNamespace(on_validation_error="cleanup"),
        optimize=SimpleNamespace(vm_boot=SimpleNamespace(state="Disabled")),
    )
    return SimpleNamespace(
        request=SimpleNamespace(run_id="r" * 36, template=SimpleNamespace(properties=properties)),
        host=SimpleNamespace(store=SimpleNamespace(runs=Facts()), settings=SimpleNamespace(optimize_boot=True)),
        tell=lambda _: None,
        directory=None,
    )


async def proven(staged: Any, work: Any) -> Proven:
    async with asyncio.TaskGroup() as tasks:
        entered: Any = SimpleNamespace(staged=staged)
        return await proving.proven(entered, DISKS, work, tasks)


@pytest.mark.parametrize("step", [None, SimpleNamespace(name="look", path="")])
async def test_a_validation_that_packer_never_came_to_proves_no_boot(
    step: Any, staged: Any, recorded: list[Work], monkeypatch: pytest.MonkeyPatch
) -> None:
    result = SimpleNamespace(outcome=SimpleNamespace(exit_status=1), step=step, error="no login", refused=())

    async def validated(*_: object) -> None:
        raise validating.failure_of(staged, result)  # type: ignore[arg-type]

    monkeypatch.setattr(validating, "validate", validated)
    told: list[object] = []
    staged.tell = told.append
    found = await proven(staged, Work())
    assert [type(event) for event in told] == [StepFailed, Notice][step is None :], "which a view marks as failed"
    assert isinstance(found.failure, ValidationFailed), "it is distributed all the same, as the template asks"
    assert "no login" in recorded[0].validation_error
    assert recorded[0].is_validated == (step is not None), "the release policy may demand a boot"


@pytest.mark.parametrize(("validated", "is_again"), [("d", False), ("", False), ("of the trimmed disks", True)])
async def test_what_an_attempt_before_validated_counts_for_the_same_disks(
    validated: str, is_again: bool, staged: Any, recorded: list[Work], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Disks] = []

    async def validate(_entered: object, disks: Disks) -> None:
        seen.append(disks)

    monkeypatch.setattr(validating, "validate", validate)
    await proven(staged, Work(is_validated=True, validated=validated))
    assert seen == [DISKS] * is_again
    assert [work.validated for work in recorded] == ["", "d"] * is_again, "and that these were is on record"


@pytest.mark.parametrize("booted", ["d", "of the disks before"])
async def test_what_was_booted_of_other_disks_meets_no_policy(
    booted: str, staged: Any, recorded: list[Work], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An attempt began anew, and its host or template leaves the boot out."""
    staged.request.template.properties.validation.in_vm_validations = ()
    monkeypatch.setattr(boot_gate, "is_wanted", lambda _staged: False)
    facts = staged.host.store.runs
    facts["boot"] = {"seconds_to_ssh": 61.5, "digest": booted}
    await proven(staged, Work(is_validated=True, validated="of the disks before"))
    facts["finished"] = vars(recorded[-1])
    unmet = list(unmet_demands(frozenset({Demand.BOOT}), facts, None))
    assert unmet == ["boot: nobody has booted it"] * (booted != "d")
