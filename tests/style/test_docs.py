"""What users can write is in the docs."""

import re
from pathlib import Path

import pytest
import typer

from vmkiln.arm_template.evaluation import SPECIAL_FUNCTIONS
from vmkiln.arm_template.functions import FUNCTIONS
from vmkiln.arm_template.resource_functions import RESOURCE_FUNCTIONS
from vmkiln.cli.main import app

ROOT = Path(__file__).parents[2]


def test_every_function_of_the_template_language_is_documented_and_no_other() -> None:
    table = [line for line in (ROOT / "docs/arm-functions.md").read_text().splitlines() if line.startswith("| ")]
    documented = {
        name.lower() for line in table for name in re.findall(r"`(\w+)(?:\.\.\.)?`", line.rpartition(" | ")[2])
    }
    known = {*FUNCTIONS, *RESOURCE_FUNCTIONS, *SPECIAL_FUNCTIONS}
    assert documented - known == {"deployer", "environment", "list", "reference", "references"}
    assert known <= documented
    assert len(known) > 60


@pytest.mark.parametrize("name", sorted(typer.main.get_command(app).commands))  # type: ignore[attr-defined]
def test_every_command_is_in_the_readme(name: str) -> None:
    assert re.search(rf"`[^`]*\b{name}\b[^`]*`", (ROOT / "README.md").read_text()), f"`vmkiln {name}` is not there"
