"""What users can write is in the docs."""

import dataclasses
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import tiers
import typer

from vmkiln.arm_template.evaluation import SPECIAL_FUNCTIONS
from vmkiln.arm_template.functions.general_functions import FUNCTIONS
from vmkiln.arm_template.functions.place_functions import PLACE_FUNCTIONS
from vmkiln.cli.main import app

ROOT = Path(__file__).parents[2]


def test_every_function_of_the_template_language_is_documented_and_no_other() -> None:
    text = (ROOT / "docs/arm-functions.md").read_text().partition("## What differs")[0]
    table = [line for line in text.splitlines() if line.startswith("| ")]
    documented = {
        name.lower() for line in table for name in re.findall(r"`(\w+)(?:\.\.\.)?`", line.rpartition(" | ")[2])
    }
    known = {*FUNCTIONS, *PLACE_FUNCTIONS, *SPECIAL_FUNCTIONS}
    assert documented - known == {"list", "reference", "references", "resourceinfo"}
    assert known <= documented
    assert len(known) > 60


@pytest.mark.parametrize("name", sorted(typer.main.get_command(app).commands))  # type: ignore[attr-defined]
def test_every_command_is_in_the_readme(name: str) -> None:
    assert re.search(rf"`[^`]*\b{name}\b[^`]*`", (ROOT / "README.md").read_text()), f"`vmkiln {name}` is not there"


def lines_of(page: str) -> list[str]:
    """The command lines of a page."""
    return re.findall(r"^\$ vmkiln (.+)$", (ROOT / "docs" / page).read_text(), re.MULTILINE)


@pytest.mark.parametrize("line", lines_of("tutorial.md"))
def test_what_the_tutorial_says_is_a_command_with_such_options(line: str) -> None:
    words = shlex.split(line)
    command: Any = typer.main.get_command(app)
    context = command.make_context("vmkiln", [], resilient_parsing=True)
    while hasattr(command, "get_command") and words:
        command = command.get_command(context, words.pop(0))
        assert command is not None, line
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("-")} <= known
    least = sum(parameter.param_type_name == "argument" and parameter.required for parameter in command.params)
    assert sum(not word.startswith("-") for word in words) >= least


def test_the_counts_of_both_tiers_are_documented() -> None:
    """The table of docs/long-tests.md, and a row for each long run that is of a known form."""
    text = (ROOT / "docs/long-tests.md").read_text()
    for field in dataclasses.fields(tiers.Tier)[1:]:
        assert f"| {field.name} | {getattr(tiers.SHORT, field.name)} | {getattr(tiers.LONG, field.name)} |" in text
    rows = [line for line in text.partition("## What was run")[2].splitlines() if line.startswith("| 2")]
    assert rows, "a long run is on record"
    for row in rows:
        assert re.fullmatch(
            r"\| \d{4}-\d\d-\d\d \| \S+ \| \d+ \| `.+` \| \d+ CPUs \| \d+ .+ \| .*\d+:\d\d:\d\d \|", row
        ), row
