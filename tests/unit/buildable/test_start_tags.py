"""The tags that say what builds begin from: each is understood, or refused before anything starts."""

import json
from typing import Any

import pytest

from vmkiln.buildable.examination import template_problems
from vmkiln.buildable.start_tags import COLD_TAG, KEPT_TAG, NEVER_TAG, never_kept
from vmkiln.run.steps import packer_steps
from vmkiln.template.image_template import ImageTemplate
from vmkiln.template.template_file import read_image_template


def a_template(tags: dict[str, str]) -> ImageTemplate:
    """One with a customizer that has a name, and one that has none."""
    steps: list[dict[str, Any]] = [{"type": "Shell", "inline": ["true"]} for _ in (1, 2)]
    body = {
        "location": "westus2",
        "identity": {"type": "None"},
        "tags": tags,
        "properties": {
            "source": {"type": "PlatformImage", "publisher": "Debian", "offer": "debian-12", "sku": "12"},
            "customize": [{**steps[0], "name": "Fetch token"}, steps[1]],
            "distribute": [{"type": "VHD", "runOutputName": "vhd"}],
        },
    }
    return read_image_template(json.dumps(body), file_name="t.json").image_template


def test_an_author_names_the_steps_that_are_never_kept() -> None:
    assert never_kept({"vmkiln-never-kept": "Fetch token, two,", "other": "x"}) == {"fetch token", "two"}
    assert never_kept({}) == frozenset()


@pytest.mark.parametrize(
    "tags",
    [{}, {COLD_TAG: " True "}, {KEPT_TAG.upper(): "FALSE"}, {KEPT_TAG: ""}, {NEVER_TAG: "fetch TOKEN, shell 2,"}],
)
def test_tags_that_are_understood_are_no_mistake(tags: dict[str, str]) -> None:
    assert list(template_problems(a_template(tags), {})) == []


def test_a_step_without_a_name_is_called_as_when_it_runs() -> None:
    template = a_template({})
    names = [step.name for step in packer_steps(template.properties.customize, {}, where="properties.customize")]
    assert list(template_problems(a_template({NEVER_TAG: ",".join(names)}), {})) == []


@pytest.mark.parametrize(
    ("tags", "path", "part"),
    [
        ({"VMKILN-cold": "yes"}, "tags.vmkiln-cold", "`yes` is neither `true` nor `false`"),
        ({KEPT_TAG: "off"}, "tags.vmkiln-checkpoints", "`off` is neither"),
        ({NEVER_TAG: "fetch token, fetch tokens"}, "tags.vmkiln-never-kept", "no customizer is named `fetch tokens`"),
    ],
)
def test_what_nobody_understands_would_have_what_its_author_did_not_want(
    tags: dict[str, str], path: str, part: str
) -> None:
    (mistake,) = template_problems(a_template(tags), {})
    assert mistake.path == path
    assert mistake.message.startswith(part)
