"""What of a template the release policy refuses is told before anything is started."""

import json
from pathlib import Path
from typing import Any

import pytest

from vmkiln.buildable.release_demands import release_mistakes
from vmkiln.settings import Settings
from vmkiln.template.source import OsType
from vmkiln.template.template_file import read_image_template

VALIDATION = {"inVMValidations": [{"type": "Shell", "name": "v", "inline": ["true"]}]}


def refused(
    policy: str, tags: dict[str, str], *, boot_gate: bool = True, os_type: OsType = OsType.LINUX, **properties: Any
) -> list[str]:
    source = {"type": "PlatformImage", "publisher": "Debian", "offer": "debian-12", "sku": "12", "version": "latest"}
    target = {"type": "VHD", "runOutputName": "vhd"}
    body = {
        "location": "westus2",
        "identity": {"type": "None"},
        "tags": tags,
        "properties": {"source": source, "distribute": [target], **properties},
    }
    template = read_image_template(json.dumps(body), file_name="t.json").image_template
    settings = Settings(Path("/home"), release_policy=policy, boot_gate=boot_gate)
    return [mistake.path for mistake in release_mistakes(template, settings, os_type)]


@pytest.mark.parametrize(
    ("policy", "tags", "paths"),
    [
        ("", {"vmkiln-residues": "history", "vmkiln-boot-gate": "off"}, []),
        ("hygiene", {}, []),
        ("hygiene", {"Vmkiln-Residues": "history"}, ["tags.vmkiln-residues"]),
        ("boot", {"vmkiln-boot-gate": "off"}, ["tags.vmkiln-boot-gate"]),
        ("boot,cold,provenance", {"vmkiln-residues": "history"}, []),
        ("boot,cold,provenance", {"vmkiln-residues": "ALL"}, ["tags.vmkiln-residues"]),
        ("provenance", {"vmkiln-residues": "all, nonsense"}, []),
    ],
)
def test_a_tag_that_the_policy_refuses_is_named(policy: str, tags: dict[str, str], paths: list[str]) -> None:
    assert refused(policy, tags) == paths


def test_a_validation_boots_the_result_whatever_the_tag_says() -> None:
    assert refused("boot", {}, boot_gate=False) == ["properties.validate"]
    assert refused("boot", {"vmkiln-boot-gate": "off"}, boot_gate=False, validate=VALIDATION) == []


def test_a_windows_image_is_never_called_clean() -> None:
    assert refused("hygiene", {}, os_type=OsType.WINDOWS) == ["properties.source"]
