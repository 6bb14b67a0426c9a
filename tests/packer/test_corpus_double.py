"""`script/corpus --double`: a Windows template is carried out to its end, and told when it is not."""

import json
from pathlib import Path
from typing import Any

from corpus_double import carried_out
from windows_bench import needs_packer

from vmkiln.template.image_template import ImageTemplate
from vmkiln.template.template_file import read_image_template

SOURCE = {"type": "PlatformImage", "publisher": "MicrosoftWindowsServer", "offer": "WindowsServer", "sku": "2022"}


def a_template(*customize: dict[str, Any]) -> ImageTemplate:
    properties = {
        "source": SOURCE, "customize": customize, "distribute": [{"type": "VHD", "runOutputName": "o"}],
        "validate": {"inVMValidations": [{"type": "PowerShell", "inline": ["dir"]}]},
    }  # fmt: skip
    body = {"location": "local", "identity": {"type": "None"}, "properties": properties}
    return read_image_template(json.dumps(body), file_name="t.json").image_template


def test_a_template_runs_to_its_end_or_is_told_by_its_step(tmp_path: Path) -> None:
    needs_packer()
    script = {"type": "PowerShell", "name": "by address", "scriptUri": "https://x.example/s.ps1"}
    bad = {"type": "PowerShell", "name": "bad", "inline": ["# double: exit 5"]}
    found = carried_out({"good.json": a_template(script), "bad.json": a_template(script, bad)}, tmp_path)
    assert found["good.json"].end == "ran", found["good.json"].why
    assert found["good.json"].stand_ins == ("properties.customize[0].scriptUri",)
    assert found["bad.json"].end == "failed"
    assert found["bad.json"].why.startswith("customize: bad: Script exited with non-zero exit status: 5")
