"""A template's steps as Packer's, and what cannot be built is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from vmkiln.buildable.examination import check_buildable
from vmkiln.errors import InputError
from vmkiln.packer.packer_template import FileCopy, InlineShell, ScriptShell
from vmkiln.run.steps import CUSTOMIZE, packer_steps, windows_steps
from vmkiln.template.image_template import ImageTemplate
from vmkiln.template.template_file import read_image_template
from vmkiln.windows.steps import Copied, PowerShell, Restart, Rights, Update, WindowsFile

LINUX: dict[str, Any] = {"type": "PlatformImage", "publisher": "p", "offer": "o", "sku": "s", "version": "latest"}
WINDOWS = {**LINUX, "publisher": "MicrosoftWindowsServer", "offer": "WindowsServer", "sku": "2022-datacenter"}
DISTRIBUTE = [{"type": "VHD", "runOutputName": "vhd"}]


def a_template(**properties: Any) -> ImageTemplate:
    everything = {"source": LINUX, "distribute": DISTRIBUTE, **properties}
    body = {"location": "here", "identity": {"type": "None"}, "properties": everything}
    return read_image_template(json.dumps(body), file_name="t.json").image_template


def test_each_kind_of_step_becomes_packers() -> None:
    template = a_template(
        customize=[
            {"type": "Shell", "inline": ["a", "b"]},
            {"type": "Shell", "name": "by address", "scriptUri": "https://x.example/s.sh"},
            {"type": "File", "name": "copy", "sourceUri": "https://x.example/f", "destination": "/tmp/f"},
        ]
    )
    script, file = Path("/copies/1"), Path("/copies/2")
    copies = {"properties.customize[1].scriptUri": script, "properties.customize[2].sourceUri": file}
    assert packer_steps(template.properties.customize, copies, where=CUSTOMIZE) == (
        InlineShell("Shell 1", "properties.customize[0]", ("a", "b")),
        ScriptShell("by address", "properties.customize[1]", script),
        FileCopy("copy", "properties.customize[2]", file, "/tmp/f"),
    )


def test_a_step_for_windows_is_refused_with_its_place() -> None:
    template = a_template(source=WINDOWS, customize=[{"type": "PowerShell", "inline": ["dir"]}])
    with pytest.raises(InputError, match=r"properties\.customize\[0\]: PowerShell"):
        packer_steps(template.properties.customize, {}, where=CUSTOMIZE)


def test_each_kind_of_step_of_windows_becomes_one() -> None:
    template = a_template(
        source=WINDOWS,
        customize=[
            {"type": "PowerShell", "inline": ["dir"], "runElevated": True},
            {"type": "File", "name": "copy", "sourceUri": "https://x.example/f", "destination": "c:\\f"},
            {"type": "WindowsRestart"},
            {"type": "WindowsUpdate", "filters": ["include:$true"]},
        ],
    )
    copy = Copied(Path("/copies/1"), 3, "0" * 64)
    copies = {"properties.customize[1].sourceUri": copy}
    assert windows_steps(template.properties.customize, copies, where=CUSTOMIZE) == (
        PowerShell("PowerShell 1", "properties.customize[0]", ("dir",), Rights.ELEVATED),
        WindowsFile("copy", "properties.customize[1]", copy, "c:\\f"),
        Restart("WindowsRestart 3", "properties.customize[2]", "", "", 300),
        Update(
            "WindowsUpdate 4", "properties.customize[3]", "BrowseOnly=0 and IsInstalled=0", ("include:$true",), 1000
        ),
    )


def test_a_shell_step_in_windows_is_refused_with_its_place() -> None:
    shell = a_template(customize=[{"type": "Shell", "inline": ["a"]}]).properties.customize
    with pytest.raises(InputError, match=r"properties\.customize\[0\]: Shell runs in Linux"):
        windows_steps(shell, {}, where=CUSTOMIZE)


def test_what_can_be_built_is_not_refused() -> None:
    check_buildable(a_template())


def test_everything_that_cannot_be_built_is_named_at_once() -> None:
    template = a_template(
        source=WINDOWS,
        customize=[{"type": "WindowsRestart"}],
        additionalDataDisks=[{"sizeGB": 0}],
        vmProfile={
            "vnetConfig": {
                "subnetId": "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/r/providers/"
                "Microsoft.Network/virtualNetworks/v/subnets/s"
            }
        },
    )
    with pytest.raises(InputError) as caught:
        check_buildable(template)
    assert caught.value.exit_code == 2
    for words in ("vnetConfig", "additionalDataDisks"):
        assert words in caught.value.message
