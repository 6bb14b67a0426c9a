"""A plan names what a build could begin from."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from vmkiln.buildable.examination import Verdict
from vmkiln.run import plan
from vmkiln.settings import Settings
from vmkiln.template.template_file import read_image_template
from vmkiln.warm.checkpoint import About, Checkpoint

SCOPE = plan.scope_of(template_id="", resource_group="rg", name="web")


def begins(tags: dict[str, str], settings: Settings) -> Sequence[str]:
    names = {"publisher": "Debian", "offer": "debian-12", "sku": "12", "version": "latest"}
    properties: dict[str, Any] = {"source": {"type": "PlatformImage", **names}, "customize": [], "distribute": []}
    properties["distribute"] = [{"type": "VHD", "runOutputName": "disk"}]
    body = {"location": "westus2", "identity": {"type": "None"}, "tags": tags, "properties": properties}
    resolved = read_image_template(json.dumps(body), file_name="web.json")
    found = plan.plan_with(resolved, resource_group="rg", verdict=Verdict(), settings=settings)
    sentences: Sequence[str] = found["begins"]
    return sentences


def kept(position: int, step: str, scope: str = SCOPE) -> Checkpoint:
    about = About(scope=scope, position=position, step=step, run_id="r", template="web", made=0.0, instance_id="i")
    return Checkpoint("key", None, about)  # type: ignore[arg-type]


def test_kept_customizers_of_this_template_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = [kept(2, "nginx"), kept(1, "update"), kept(3, "theirs", "another's")]
    monkeypatch.setattr(plan, "all_of", lambda _folder: there)
    [vm, customizers] = begins({}, Settings(home=tmp_path))
    assert "goes on from a saved VM" in vm
    assert customizers.endswith("kept on this machine: 1 (update), 2 (nginx)")


def test_a_build_that_begins_at_the_first_says_why(tmp_path: Path) -> None:
    [vm, customizers] = begins({"vmkiln-cold": "true"}, Settings(home=tmp_path))
    assert vm.endswith("is booted: the tag `vmkiln-cold` asks for it")
    assert customizers.endswith("begin at the first: the tag `vmkiln-cold` asks for it")
    assert begins({"vmkiln-checkpoints": "false"}, Settings(home=tmp_path))[1].endswith("is false")
