"""What a failed customization is told as."""

from typing import Any

import pytest

from vmkiln.packer.packer_template import Deprovision, InlineShell, Step
from vmkiln.run.customizing import _advice
from vmkiln.run.packer_phase import PhaseResult
from vmkiln.run.vm_pair import Outcome

SHELL = InlineShell("a", "properties.customize[0]", ("true",))


@pytest.mark.parametrize(
    ("step", "status", "is_told"),
    [(Deprovision(), 127, True), (Deprovision(), 1, False), (SHELL, 127, False), (None, None, False)],
)
def test_a_deprovisioning_without_its_waagent_is_told_what_to_do(
    step: Step | None, status: int | None, is_told: bool
) -> None:
    outcome: Any = Outcome(1, vm_is_off=False, peak_memory_kib=0)
    assert ("`waagent`" in _advice(PhaseResult(outcome, step, "exit status: 127", status))) == is_told
