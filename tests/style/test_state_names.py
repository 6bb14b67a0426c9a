"""States are members of their enums everywhere: a literal that spells one is a second place that has to know it."""

import ast
from pathlib import Path

from vmkiln.azure_names import Architecture, OperationStatus, ProvisioningState
from vmkiln.run_state import Phase, RunState

ROOT = Path(__file__).parents[2] / "vmkiln"
STATES = {
    str(state) for states in (Architecture, OperationStatus, ProvisioningState, Phase, RunState) for state in states
}
WHERE_THEY_ARE = {"azure_names.py", "run_state.py"}
OTHER_THINGS = {  # words of the same letters for something else
    "api/staging/staging_bodies.py": {"Running"},  # a container's state
    "audit/act.py": {"Succeeded", "Failed"},  # an act's
    "errors.py": {"Canceled"},  # an error code
}


def states_in(text: str) -> set[str]:
    return {node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant) and node.value in STATES}


def test_no_module_spells_a_state_that_an_enum_has() -> None:
    spelled = {
        str(path.relative_to(ROOT)): found
        for path in sorted(ROOT.rglob("*.py"))
        if (found := states_in(path.read_text()))
    }
    assert {name: found for name, found in spelled.items() if name not in WHERE_THEY_ARE} == OTHER_THINGS


def test_a_state_that_is_spelled_out_is_found() -> None:
    assert states_in("if a in {'Queued', 'b'}: pass") == {"Queued"}
