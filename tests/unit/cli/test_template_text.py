"""A template file is read whatever it was saved with, and what is none is named as what it is."""

import codecs
import json
import stat
from pathlib import Path
from typing import Any

import pytest

from vmkiln.arm_template.yaml_text import json_of_yaml
from vmkiln.cli import main
from vmkiln.cli.bicep import MOST_KEPT, cache_folder
from vmkiln.cli.template_text import decoded, kind_of
from vmkiln.errors import InputError, TemplateInvalid

BODY: dict[str, Any] = {
    "apiVersion": "2024-02-01",
    "location": "westus2",
    "identity": {"type": "None"},
    "properties": {
        "source": {"type": "PlatformImage", "publisher": "Debian", "offer": "debian-12", "sku": "12"},
        "customize": [{"type": "Shell", "inline": ["true"]}],
        "distribute": [{"type": "VHD", "runOutputName": "o"}],
    },
}
YAML = """\
# as a body
apiVersion: 2024-02-01
location: West US 2
identity: {type: "None"}
tags: {keep: yes, day: 2024-02-01}
properties:
  source: &source {type: PlatformImage, publisher: Debian, offer: debian-12, sku: "12"}
  vmProfile: {osDiskSizeGB: 64}
  customize:
    - type: Shell
      inline:
        - |
          echo one
          echo two
  distribute:
    - {type: VHD, runOutputName: o}
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VMKILN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "home"


def vmkiln(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main.main(list(arguments))
    return int(caught.value.code or 0)


@pytest.mark.parametrize("coding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be-mark", "utf-32"])
def test_every_encoding_with_a_mark_is_read(tmp_path: Path, coding: str) -> None:
    text = json.dumps({**BODY, "tags": {"city": "Zürich"}}, ensure_ascii=False)
    raw = codecs.BOM_UTF16_BE + text.encode("utf-16-be") if coding == "utf-16-be-mark" else text.encode(coding)
    path = tmp_path / "t.json"
    path.write_bytes(raw)
    assert vmkiln("validate", str(path)) == 0


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ('{\n "a": "Zürich"}'.encode("latin-1"), "line 2"),
        ("{}".encode("utf-16-le"), "UTF-16 without a byte order mark"),
        (b"\x7fELF\x00\x01\x02\xff", "is not a text"),
        (codecs.BOM_UTF16_LE + b"\x00\xd8", "is not UTF-8 text"),
    ],
)
def test_what_cannot_be_decoded_says_how_to_save_it(raw: bytes, words: str) -> None:
    with pytest.raises(InputError) as caught:
        decoded(raw, "t.json")
    assert words in f"{caught.value.message} {caught.value.hint}"
    assert "Out-File -Encoding utf8" in str(caught.value.hint) or "JSON, YAML or Bicep" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("main.tf", "", "Terraform"),
        ("main.txt2", 'resource "azurerm_x" "y" {\n}', "Terraform"),
        ("ubuntu.pkr.hcl", 'source "azure-arm" "x" {\n}', "a template of Packer"),
        ("build.sh", "#!/bin/sh", "a script"),
        ("build", "#!/bin/sh\n", "a script"),
        ("a.zip", "", "an archive"),
        ("README.md", "# Read me", "a text to read"),
        ("page", "<!DOCTYPE html>", "XML or HTML"),
        ("disk.vhd", "", "a disk"),
    ],
)
def test_other_kinds_of_file_are_named(name: str, text: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        kind_of(Path(name), text)
    assert words in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("name", "text", "kind"),
    [
        ("a.json", "", "json"),
        ("a.JSON", "location: x", "json"),
        ("a", '{"a": 1}', "json"),
        ("a", "// c\n{}", "json"),
        ("a.yaml", "", "yaml"),
        ("a.yml", "{}", "yaml"),
        ("-", "location: westus2\n", "yaml"),
        ("-", "---\nlocation: westus2\n", "yaml"),
        ("a.bicep", "", "bicep"),
        ("-", "param x string\n", "bicep"),
        ("a.bicepparam", "", "bicepparam"),
        ("-", "using 'main.bicep'\n", "bicepparam"),
    ],
)
def test_the_kind_of_a_file_is_told_by_its_name_or_its_text(name: str, text: str, kind: str) -> None:
    assert kind_of(Path(name), text) == kind


def test_a_yaml_body_is_read_as_it_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "t.yaml"
    path.write_text(YAML)
    assert vmkiln("plan", str(path), "--json") == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["name"] == "t"
    assert plan["template"]["tags"] == {"keep": "yes", "day": "2024-02-01"}
    assert plan["template"]["properties"]["customize"][0]["inline"] == ["echo one\necho two\n"]


def test_members_beside_a_merge_win_over_what_it_brings_in() -> None:
    text = "base: &b {type: Shell, name: a}\nstep:\n  <<: *b\n  name: b\n"
    assert json.loads(json_of_yaml(text, "t.yaml"))["step"] == {"type": "Shell", "name": "b"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\na: 2\n", "given twice"),
        ("a: [1\n", "t.yaml:2:1"),
        ("a: !!python/object:os.system x\n", "could not determine a constructor"),
        ("? [1]\n: 2\n", "must be a text"),
        ("a: &a [*a]\n", "recursive"),
        ("a: .nan\n", "what JSON cannot"),
    ],
)
def test_a_mistake_in_yaml_is_named(text: str, words: str) -> None:
    with pytest.raises((InputError, TemplateInvalid)) as caught:
        json_of_yaml(text, "t.yaml")
    assert words in str(caught.value)


def test_a_yaml_bomb_is_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(TemplateInvalid, match="too large"):
        json_of_yaml("\n".join(lines), "t.yaml")


# stand-ins of the Bicep compiler: the real one cannot be had where these tests run


def stand_in(folder: Path, name: str, body: str) -> Path:
    folder.mkdir(exist_ok=True)
    program = folder / name
    program.write_text(f'#!/bin/sh\necho "$@" >>"{folder}/calls"\n{body}\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program


def calls(folder: Path) -> list[str]:
    return (folder / "calls").read_text().splitlines() if (folder / "calls").exists() else []


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder of PATH but the system's, which has neither bicep nor az."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'programs'}:/usr/bin:/bin")
    return tmp_path / "programs"


def test_bicep_is_compiled_once_for_each_content(tmp_path: Path, programs: Path) -> None:
    (tmp_path / "out.json").write_text(json.dumps(BODY))
    stand_in(programs, "bicep", f'cat "{tmp_path}/out.json"')
    main_file, module = tmp_path / "main.bicep", tmp_path / "modules" / "m.bicep"
    module.parent.mkdir()
    module.write_text("param a string\n")
    main_file.write_text("module m 'modules/m.bicep' = {\n}\n")
    assert vmkiln("validate", str(main_file)) == 0
    assert vmkiln("validate", str(main_file)) == 0
    assert calls(programs) == [f"build {main_file} --stdout"]
    module.write_text("param b string\n")
    assert vmkiln("validate", str(main_file)) == 0
    assert len(calls(programs)) == 2, "a module's change is seen"
    [*kept] = cache_folder().glob("*.json")
    assert len(kept) == 2 <= MOST_KEPT
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in kept)


def test_az_compiles_where_there_is_no_bicep(tmp_path: Path, programs: Path) -> None:
    (tmp_path / "out.json").write_text(json.dumps(BODY))
    stand_in(programs, "az", f'cat "{tmp_path}/out.json"')
    (tmp_path / "main.bicep").write_text("param a string\n")
    assert vmkiln("validate", str(tmp_path / "main.bicep")) == 0
    assert calls(programs) == [f"bicep build --file {tmp_path / 'main.bicep'} --stdout"]


def test_a_parameter_file_of_bicep_brings_template_and_values(
    tmp_path: Path, programs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    resource = {**BODY, "type": "Microsoft.VirtualMachineImages/imageTemplates", "name": "[parameters('n')]"}
    template = {"parameters": {"n": {"type": "string"}}, "resources": [resource]}
    told = {
        "templateJson": json.dumps(template),
        "parametersJson": json.dumps({"parameters": {"n": {"value": "from-bicep"}}}),
    }
    (tmp_path / "out.json").write_text(json.dumps(told))
    stand_in(programs, "bicep", f'cat "{tmp_path}/out.json"')
    (tmp_path / "main.bicepparam").write_text("using 'main.bicep'\nparam n = 'from-bicep'\n")
    assert vmkiln("validate", str(tmp_path / "main.bicepparam")) == 0
    assert "from-bicep: no mistakes" in capsys.readouterr().out
    (tmp_path / "main.json").write_text(json.dumps(template))
    assert vmkiln("validate", str(tmp_path / "main.json"), "-p", str(tmp_path / "main.bicepparam")) == 0


def test_what_the_compiler_says_is_shown(tmp_path: Path, programs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stand_in(programs, "bicep", 'echo "main.bicep(1,7) : Error BCP018: Expected" >&2; exit 1')
    (tmp_path / "main.bicep").write_text("param \n")
    assert vmkiln("validate", str(tmp_path / "main.bicep")) == 2
    assert "Error BCP018" in capsys.readouterr().err


def test_without_a_compiler_it_is_said_how_to_get_one(
    tmp_path: Path, programs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not programs.exists()
    (tmp_path / "main.bicep").write_text("param a string\n")
    for command in ("validate", "plan", "build"):
        assert vmkiln(command, str(tmp_path / "main.bicep")) == 2
        told = capsys.readouterr().err
        assert "az bicep install" in told
        assert "bicep build FILE" in told
    assert vmkiln("validate", str(tmp_path / "main.bicep"), "--json") == 2
    assert "Bicep" in json.loads(capsys.readouterr().out)["mistakes"][0]["message"]


@pytest.mark.parametrize("text", ["\n" * 50_000 + "!", "\n \n" * 20_000 + "!", " \n#" * 20_000])
def test_a_text_of_empty_lines_is_told_apart_at_once(text: str) -> None:
    """Each of its lines used to double the time that this took."""
    assert kind_of(Path("template"), text) == "json"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("templte.json", "hint: did you mean {}/template.json?"),
        ("TEMPLATE.yaml", "hint: did you mean {}/template.json?"),
        ("nowhere/template.json", "hint: there is no folder {}/nowhere"),
    ],
)
def test_a_file_that_is_not_there_is_told_with_the_one_that_was_meant(
    tmp_path: Path, given: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "template.json").write_text("{}")
    assert vmkiln("validate", str(tmp_path / given)) == 2
    assert told.format(tmp_path) in capsys.readouterr().err


def test_a_file_of_another_name_is_not_what_was_meant(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("cleaning.json", "mapping.json", "m.json"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "missing").mkdir()
    assert vmkiln("validate", str(tmp_path / "missing.json")) == 2
    assert "did you mean" not in capsys.readouterr().err
