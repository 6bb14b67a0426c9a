"""`vmkiln validate`, `vmkiln plan` and what `vmkiln build` refuses before anything starts."""

import json
from pathlib import Path
from typing import Any

import pytest

from vmkiln.cli import main
from vmkiln.cli.commands import build
from vmkiln.cli.template_options import read_allowances
from vmkiln.errors import InputError

LINUX = {"type": "PlatformImage", "publisher": "Debian", "offer": "debian-12", "sku": "12", "version": "latest"}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VMKILN_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def vmkiln(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main.main(list(arguments))
    return int(caught.value.code or 0)


def write(tmp_path: Path, **properties: Any) -> str:
    """A deployment template with a secure parameter that a customizer uses."""
    everything = {
        "source": LINUX,
        "customize": [{"type": "Shell", "name": "s", "inline": ["[concat('echo ', parameters('password'))]"]}],
        "distribute": [{"type": "VHD", "runOutputName": "vhd"}],
        **properties,
    }
    resource = {
        "type": "Microsoft.VirtualMachineImages/imageTemplates",
        "apiVersion": "2024-02-01",
        "name": "web",
        "location": "local",
        "identity": {"type": "None"},
        "properties": everything,
    }
    document = {
        "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
        "contentVersion": "1.0.0.0",
        "parameters": {"password": {"type": "secureString"}},
        "resources": [resource],
    }
    path = tmp_path / "web.json"
    path.write_text(json.dumps(document))
    return str(path)


def test_a_good_template_is_said_to_be_good(tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path)
    assert vmkiln("validate", path, "--parameters", "password=hunter22") == 0
    assert capsys.readouterr().out == "web: no mistakes (api-version 2024-02-01)\n"
    assert vmkiln("validate", path, "--parameters", "password=hunter22", "--json") == 0
    assert json.loads(capsys.readouterr().out)["valid"] is True
    assert not home.exists(), "validating writes nothing"


@pytest.mark.parametrize("command", [["build"], ["build", "--dry-run"], ["validate"], ["plan"]])
@pytest.mark.parametrize("more", [[], ["--json"]])
def test_why_it_cannot_be_built_tells_no_secret(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str], more: list[str]
) -> None:
    path = write(tmp_path, customize=[{"type": "Shell", "scriptUri": "[parameters('password')]"}])
    (tmp_path / "hunter22.sh").mkdir()
    assert vmkiln(*command, path, "--parameters", "password=hunter22.sh", "--allow-local-files", *more) == 2
    told = capsys.readouterr()
    assert "***" in told.err
    assert "hunter22" not in told.out + told.err


def test_a_short_secret_is_warned_about(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert vmkiln("validate", write(tmp_path), "--parameters", "password=abc") == 0
    captured = capsys.readouterr()
    assert "fewer than 4 characters" in captured.err
    assert "abc" not in captured.out + captured.err


def test_all_mistakes_are_named_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, buildTimeoutInMinutes=-5, source={"type": "Nothing"}, distribute=[{"type": "VHD"}])
    for command in ("validate", "plan", "build"):
        assert vmkiln(command, path, "--parameters", "password=hunter22") == 2
        error = capsys.readouterr().err
        for place in ("properties.buildTimeoutInMinutes", "properties.source", "properties.distribute"):
            assert place in error


def test_the_plan_shows_everything_but_secrets(tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, errorHandling={"onCustomizerError": "abort"})
    assert vmkiln("plan", path, "--parameters", "password=hunter22", "--json") == 0
    text = capsys.readouterr().out
    plan = json.loads(text)
    assert "hunter22" not in text
    assert plan["template"]["properties"]["customize"][0]["inline"] == ["echo ***"]
    assert plan["cannot_be_built_because"] == []
    assert plan["staging_resource_group"]["name"].startswith("IT_vmkiln_web_")
    assert plan["packer"]["customize"]["builders"][0]["type"] == "null"
    assert "validate" not in plan["packer"]
    assert {item["name"] for item in plan["staging_resource_group"]["resources"]} >= {"vnet", "nsg", "build-vm"}
    assert vmkiln("plan", path, "--parameters", "password=hunter22") == 0
    shown = capsys.readouterr().out
    assert "hunter22" not in shown
    for words in ("staging resource group IT_vmkiln_web_", "Packer template (customize)", "network", "distribute"):
        assert words in shown
    assert not home.exists(), "planning writes nothing"


def test_a_windows_template_without_its_source_is_planned_and_refused(
    tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    windows = {**LINUX, "publisher": "MicrosoftWindowsServer", "offer": "WindowsServer", "sku": "2022-datacenter"}
    path = write(tmp_path, source=windows, customize=[{"type": "PowerShell", "inline": ["dir"]}])
    assert vmkiln("plan", path, "--parameters", "password=hunter22") == 2
    shown = capsys.readouterr().out
    assert "cannot be built: " in shown
    assert '"communicator": "winrm"' in shown, "what would be done is told all the same"
    assert vmkiln("build", path, "--parameters", "password=hunter22") == 2
    assert "Windows" in capsys.readouterr().err
    assert not home.exists(), "nothing was started"


def test_a_missing_file_and_a_missing_parameter_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert vmkiln("validate", str(tmp_path / "none.json")) == 2
    assert "none.json" in capsys.readouterr().err
    assert vmkiln("validate", write(tmp_path)) == 2
    assert "password" in capsys.readouterr().err
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    assert vmkiln("validate", str(tmp_path / "binary")) == 2
    assert "UTF-8" in capsys.readouterr().err


def test_a_program_reads_what_is_wrong_with_the_networks_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "networks.json").write_text("no JSON")
    given = ["--parameters", "password=hunter22", "--virtual-networks", str(tmp_path / "networks.json"), "--json"]
    assert vmkiln("validate", write(tmp_path), *given) == 2
    found = json.loads(capsys.readouterr().out)
    assert found["valid"] is False
    assert "--virtual-networks" in found["mistakes"][0]["message"]


def test_parameters_come_from_a_file_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "web.parameters.json"
    file.write_text(json.dumps({"parameters": {"password": {"value": "hunter22"}}}))
    for given in (str(file), f"@{file}"):
        assert vmkiln("validate", write(tmp_path), "--parameters", given) == 0
        assert "no mistakes" in capsys.readouterr().out


def test_allowances_name_every_mistake() -> None:
    (allowance,) = read_allowances(["10.1.2.0/24:443"])
    assert (str(allowance.network), allowance.port) == ("10.1.2.0/24", 443)
    with pytest.raises(InputError) as caught:
        read_allowances(["10.1.2.3/24", "10.0.0.0/8:99999", "fine", "10.9.9.9"])
    assert caught.value.message.count("`") >= 6
    assert "10.9.9.9" not in caught.value.message


NOBODY = "/subscriptions/11111111-2222-3333-4444-555555555555/resourceGroups/rg1/providers/Microsoft.Compute"
NOT_TO_BE_HAD: dict[str, tuple[dict[str, Any], str]] = {
    "a platform image": ({**LINUX, "sku": "99"}, "the catalogue has no platform image Debian:debian-12:99"),
    "a platform image's version": ({**LINUX, "version": "1.2.3"}, "version 1.2.3 of debian:debian-12:12"),
    "a managed image": (
        {"type": "ManagedImage", "imageId": f"{NOBODY}/images/none"},
        f"there is no managed image {NOBODY}/images/none",
    ),
    "an image version": (
        {"type": "SharedImageVersion", "imageVersionId": f"{NOBODY}/galleries/g/images/d/versions/1.0.0"},
        f"there is no image version {NOBODY}/galleries/g/images/d/versions/1.0.0",
    ),
    "the latest image version": (
        {"type": "SharedImageVersion", "imageVersionId": f"{NOBODY}/galleries/g/images/d/versions/latest"},
        f"there is no image version {NOBODY}/galleries/g/images/d/versions/latest",
    ),
}


@pytest.mark.parametrize("name", list(NOT_TO_BE_HAD))
def test_a_source_that_cannot_be_had_is_refused_before_anything_starts(
    name: str, tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, message = NOT_TO_BE_HAD[name]
    path = write(tmp_path, source=source)
    assert vmkiln("plan", path, "--parameters", "password=hunter22", "--json") == 2
    (problem,) = json.loads(capsys.readouterr().out)["cannot_be_built_because"]
    assert message in problem
    assert vmkiln("build", path, "--parameters", "password=hunter22") == 2
    assert message in capsys.readouterr().err
    assert vmkiln("run", "list", "--json") == 0
    assert json.loads(capsys.readouterr().out) == []
    assert vmkiln("staging", "list", "--json") == 0
    assert json.loads(capsys.readouterr().out) == []
    assert not (home / "container-image").exists(), "nothing was made for it"


def test_an_installation_disc_is_refused_before_anything_starts(
    tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = {"type": "ISO", "sourceURI": "https://example.com/x.iso", "sha256Checksum": "a" * 64}
    customize = [{"type": "Shell", "name": "a", "inline": ["true"]}]
    properties = {"source": source, "customize": customize, "distribute": [{"type": "VHD", "runOutputName": "o"}]}
    path = tmp_path / "iso.json"
    path.write_text(json.dumps({"apiVersion": "2019-05-01-preview", "location": "westus2", "properties": properties}))
    assert vmkiln("plan", str(path), "--json") == 2
    (problem,) = json.loads(capsys.readouterr().out)["cannot_be_built_because"]
    assert "type ISO" in problem
    assert vmkiln("build", str(path)) == 2
    assert "type ISO" in capsys.readouterr().err
    assert not home.exists(), "nothing was started"


@pytest.mark.parametrize(("state", "code"), [("Succeeded", 0), ("PartiallySucceeded", 4)])
def test_a_build_whose_images_were_not_all_published_ends_with_4(
    state: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    message = "" if code == 0 else "Failed in distributing 1 images out of total 2: b: no room"

    cold = []

    async def built(_request: Any, _tell: Any, *, is_cold: bool, **_: Any) -> dict[str, Any]:
        cold.append(is_cold)
        return {"run_id": "1", "state": state, "message": message, "outputs": [], "phases": []}

    monkeypatch.setattr(build, "_build", built)
    for more in ([], ["--json"], ["--cold"]):
        assert vmkiln("build", write(tmp_path), "--parameters", "password=hunter22", *more) == code
        assert ("error: the run ended PartiallySucceeded: Failed in distributing 1" in capsys.readouterr().err) is (
            code != 0
        )
    assert cold == [False, False, True]
    assert vmkiln("build", "--help") == 0
    assert "exit code 4 when only a part was published" in " ".join(capsys.readouterr().out.split())


LOCKED = ["--parameters", "password=hunter22", "--egress", "@debian,packages.example.org:8443"]


def test_a_policy_that_is_not_open_is_shown(tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path)
    assert vmkiln("validate", path, *LOCKED) == 0
    assert "egress policy: allow-list; only deb.debian.org, " in capsys.readouterr().out
    assert vmkiln("validate", path, "--parameters", "password=hunter22", "--json") == 0
    assert json.loads(capsys.readouterr().out)["egress_policy"].startswith("egress policy: open")


def test_a_policy_may_stand_in_a_file(tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = tmp_path / "names"
    names.write_text("a.example  # the mirror\n\nb.example:8080\n")
    assert vmkiln("validate", write(tmp_path), *LOCKED[:2], "--egress", str(names), "--egress", "c.example") == 0
    assert "only a.example, b.example:8080, c.example " in capsys.readouterr().out


def test_every_mistake_in_a_policy_is_named(tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert vmkiln("validate", write(tmp_path), *LOCKED[:2], "--egress", "10.0.0.1,@nowhere") == 2
    assert "`10.0.0.1` is an address" in (shown := capsys.readouterr().err)
    assert "`@nowhere` is no set" in shown


def test_a_locked_build_behind_a_proxy_for_guests_is_refused_beforehand(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VMKILN_GUEST_PROXY", "http://proxy.example:3128")
    path = write(tmp_path)
    assert vmkiln("validate", path, *LOCKED[:2]) == 0
    capsys.readouterr()
    for command in ("validate", "plan", "build"):
        assert vmkiln(command, path, *LOCKED[:2], "--egress", "none") == 2
        assert "guest_proxy reaches whatever it is asked for" in capsys.readouterr().err


def test_nothing_is_opened_to_a_build_that_may_reach_nothing(
    tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["plan", write(tmp_path), *LOCKED[:2], "--egress", "none", "--allow-egress", "10.1.2.0/24"]
    assert vmkiln(*arguments) == 2
    assert "--allow-egress opens a network" in capsys.readouterr().err


def test_the_plan_of_a_locked_build_says_so(
    tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The setting is a floor: what the command asks for beside it is not in the policy."""
    monkeypatch.setenv("VMKILN_EGRESS", "*.example.org")
    vmkiln("plan", write(tmp_path), *LOCKED[:2], "--egress", "a.example.org b.example")
    shown = capsys.readouterr().out
    assert "Internet: TCP by the name proxy" in shown
    assert "allow-list; only *.example.org; of these only: a.example.org, b.example " in shown
