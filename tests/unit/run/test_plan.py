"""A plan names what a build could begin from."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vmkiln.buildable.examination import Verdict
from vmkiln.host.saved import saved_vm
from vmkiln.run import plan
from vmkiln.settings import Settings
from vmkiln.template.template_file import read_image_template
from vmkiln.warm.checkpoint import About, record_of

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


def keep(settings: Settings, position: int, step: str, scope: str = SCOPE, *, instance_id: str = "i") -> None:
    key = saved_vm.key_of({"scope": scope, "position": position})
    workplace = saved_vm.begun(settings.saved_vms, key)
    about = About(scope, position, step, run_id="r", template="web", made=time.time(), instance_id=instance_id)
    saved_vm.finished(workplace, b"", "digest", about=record_of(about))
    saved_vm.named(workplace)


def test_kept_customizers_of_this_template_are_named(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    for position, step in ((2, "nginx"), (1, "deprovision")):
        keep(settings, position, step)
    keep(settings, 3, "theirs", "another's")
    [vm, customizers] = begins({}, settings)
    assert "goes on from a saved VM" in vm
    assert customizers.endswith("kept on this machine: 1 (deprovision), 2 (nginx)"), "a name of the template's own"


def test_others_of_the_group_are_counted_where_they_share(tmp_path: Path) -> None:
    for name, group in (("api", "rg"), ("db", "rg"), ("far", "rg2")):
        scope = plan.scope_of(template_id="", resource_group=group, name=name)
        keep(Settings(home=tmp_path), 1, "update", scope)
    assert len(begins({}, Settings(home=tmp_path))) == 2
    [_, _, others] = begins({}, Settings(home=tmp_path, share_checkpoints=True))
    assert others == "or behind what other templates of its resource group have kept here: 2 of them have"


def test_the_disk_of_a_whole_build_is_no_customizer(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    keep(settings, 1, "update")
    keep(settings, 2, "deprovision", instance_id="")
    [_, customizers, disk] = begins({}, settings)
    assert customizers.endswith("kept on this machine: 1 (update)")
    assert disk.endswith("with nothing edited no step runs")


def test_a_build_that_begins_at_the_first_says_why(tmp_path: Path) -> None:
    [vm, customizers] = begins({"vmkiln-cold": "true"}, Settings(home=tmp_path))
    assert vm.endswith("is booted: the tag `vmkiln-cold` asks for it")
    assert customizers.endswith("begin at the first: the tag `vmkiln-cold` asks for it")
    assert begins({"vmkiln-checkpoints": "false"}, Settings(home=tmp_path))[1].endswith("is false")
