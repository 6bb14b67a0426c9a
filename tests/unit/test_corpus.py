"""`script/corpus` tells what becomes of a folder of templates, and whose fault it is when a build ends early."""

import json
from pathlib import Path
from typing import Any

import corpus_report
import pytest
from corpus_build import STAND_IN, _end_of, with_stand_ins

DEBIAN = {"type": "PlatformImage", "publisher": "Debian", "offer": "debian-12", "sku": "12"}
WINDOWS = {**DEBIAN, "publisher": "MicrosoftWindowsServer", "offer": "WindowsServer", "sku": "2022-datacenter"}
NETWORKS = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/v/subnets"


def body(**properties: Any) -> dict[str, Any]:
    everything = {"source": DEBIAN, "distribute": [{"type": "VHD", "runOutputName": "o"}], **properties}
    return {
        "apiVersion": "2024-02-01",
        "location": "westus2",
        "identity": {"type": "None"},
        "properties": everything,
    }


def report(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> tuple[int, Any]:
    monkeypatch.setattr("sys.argv", ["corpus", str(folder), "--json"])
    code = corpus_report.main()
    return code, {item["name"]: item for item in json.loads(capsys.readouterr().out)}


def test_each_template_is_read_planned_or_refused_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VMKILN_HOME", str(tmp_path / "home"))
    folder = tmp_path / "folder"
    folder.mkdir()
    image = {"type": "Microsoft.VirtualMachineImages/imageTemplates", "name": "[parameters('name')]", **body()}
    image["location"] = "<region>"
    files: dict[str, Any] = {
        "linux.json": body(source={**DEBIAN, "publisher": "Canonical", "offer": "UbuntuServer", "sku": "18.04-LTS"}),
        "windows.json": body(source=WINDOWS),
        "open.json": {"parameters": {"name": {"type": "string"}}, "resources": [image]},
        "network.json": body(vmProfile={"vnetConfig": {"subnetId": f"{NETWORKS}/s"}}),
        "wrong.json": body(buildTimeoutInMinutes=3),
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))
    (folder / "broken.json").write_text('{"a": 1 "b"}')
    (folder / "notes.txt").write_text("no template")
    code, found = report(folder, monkeypatch, capsys)
    assert code == 0, "nothing crashed"
    assert set(found) == {*files, "broken.json"}
    assert {name for name, item in found.items() if item["planned"] == "planned"} == {
        "linux.json", "open.json", "network.json",
    }  # fmt: skip
    assert found["windows.json"]["os_type"] == "Windows"
    assert found["windows.json"]["planned"] == corpus_report.BUT_FOR_SOURCE
    assert found["open.json"]["made_up"] is True
    assert found["linux.json"]["made_up"] is False
    assert "buildTimeoutInMinutes" in found["wrong.json"]["why"]
    assert "broken.json:1:9" in found["broken.json"]["why"]


def test_a_crash_is_counted_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "t.json").write_text(json.dumps(body()))

    def broken(*_arguments: Any, **_named: Any) -> None:
        raise KeyError("ours")

    monkeypatch.setattr(corpus_report, "filled", broken)
    code, found = report(tmp_path, monkeypatch, capsys)
    assert code == 1
    assert found["t.json"]["state"] == "crashed"
    assert "KeyError: 'ours'" in found["t.json"]["why"]


def test_scripts_of_the_internet_become_stand_ins_that_are_told(tmp_path: Path) -> None:
    steps = [
        {"type": "Shell", "scriptUri": "https://x.example/a", "sha256Checksum": "0" * 64},
        {"type": "Shell", "inline": ["true"]},
        {"type": "File", "sourceUri": "https://x.example/b", "destination": "/tmp/b"},
        {"type": "Shell", "script": "https://x.example/c"},
    ]
    places = ("customize[0].scriptUri", "customize[2].sourceUri", "customize[3].script")
    template = body(customize=steps)
    assert with_stand_ins(template, tmp_path) == places
    assert template["properties"]["customize"][0] == {"type": "Shell", "scriptUri": "file:customize-0"}
    assert (tmp_path / "customize-0").read_text() == STAND_IN


@pytest.mark.parametrize(
    ("code", "summary", "end"),
    [
        (0, {"state": "Succeeded", "message": ""}, "built"),
        (1, {"error_code": "PackerBuildFailed", "message": "customizing failed in `s`"}, "user"),
        (1, {"error_code": "ValidationFailed", "message": "validation failed in `v`"}, "user"),
        (1, {"error_code": "BuildVmTerminated", "message": "the VM ended"}, "ours"),
        (1, {"error_code": "PackerBuildFailed", "message": "customizing failed in `deprovision`: x"}, "ours"),
        (2, {}, "ours"),
    ],
)
def test_whose_end_a_build_was_is_told_apart(code: int, summary: dict[str, Any], end: str) -> None:
    told = json.dumps({"event": "LogLine", "text": "x"}) + "\n" + (json.dumps(summary) if summary else "")
    found = _end_of(code, told, "error: refused", ("customize[0].scriptUri",))
    assert (found.end, found.stand_ins) == (end, ("customize[0].scriptUri",))
