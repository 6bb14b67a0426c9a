"""Help with writing a template: a schema that takes what is a template and nothing else, and words on each field."""

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from vmkiln.cli import main
from vmkiln.cli.commands.templates.editing import told_member
from vmkiln.cli.commands.templates.template_schema import EVERY, member_paths, member_words, members_at, template_schema
from vmkiln.template.api_version import API_VERSIONS
from vmkiln.windows.steps import MOST_ROUNDS

EXAMPLE = Path(__file__).parents[5] / "examples" / "hello-linux" / "template.json"
NEWEST = API_VERSIONS[-1]


def vmkiln(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main.main(list(arguments))
    return int(ended.value.code or 0)


def example() -> Any:
    return json.loads(EXAMPLE.read_text())


@pytest.mark.parametrize("api_version", API_VERSIONS)
def test_each_api_version_has_a_schema_that_takes_a_template(api_version: str) -> None:
    schema = jsonschema_rs.validator_for(template_schema(api_version))
    body = {**example(), "apiVersion": api_version}
    body["properties"]["buildTimeoutInMinutes"] = "[parameters('minutes')]"
    assert [str(error) for error in schema.iter_errors(body)] == []


def test_it_refuses_what_the_reader_refuses() -> None:
    schema = jsonschema_rs.validator_for(template_schema(NEWEST))
    for change in ({"buildTimeoutInMinutes": 3}, {"customise": []}, {"distribute": [{"type": "VDH"}]}, {"source": 1}):
        body = example()
        body["properties"] |= change
        assert not schema.is_valid(body), change


def test_older_names_and_unknown_members_are_those_of_their_api_version() -> None:
    body = example()
    body["properties"]["customize"] = [{"type": "Shell", "script": "https://example.org/x.sh"}]
    body.pop("apiVersion", None)
    for api_version, is_taken in (("2019-05-01-preview", True), (NEWEST, False)):
        assert jsonschema_rs.validator_for(template_schema(api_version)).is_valid(body) is is_taken


@pytest.mark.parametrize("api_version", ["2022-02-14", "2024-02-01"])
def test_a_member_that_came_later_is_taken_and_marked_as_validate_does(api_version: str) -> None:
    schema = template_schema(api_version)
    workload = schema["$defs"]["Optimize"]["properties"]["workload"]
    assert workload["deprecated"] is True
    assert f"api-version {api_version}: it came with 2025-10-01" in workload["deprecationMessage"]
    body = example()
    body["properties"]["optimize"] = {"workload": {"state": "Disabled"}}
    body["apiVersion"] = api_version
    assert jsonschema_rs.validator_for(schema).is_valid(body)
    assert "deprecated" not in json.dumps(template_schema(NEWEST))


def test_a_field_is_found_by_its_path_in_whatever_case() -> None:
    schema = template_schema(NEWEST)
    for path in ("properties.customize[0].inline", "customize.INLINE", "properties.customize[].inline"):
        found = members_at(schema, path)
        assert found is not None
        assert found.path == "properties.customize.inline"
    assert members_at(schema, "properties.nothing") is None
    for path in set(member_paths(schema)):
        assert members_at(schema, path) is not None, path


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("properties.buildTimeoutInMinutes", ("default: 240", "allowed: 6 to 960", "required: false")),
        ("customize.type", ("Shell", "PowerShell", "WindowsRestart")),
        ("hostunfit", ("exitCode: 3", "This machine lacks something", "whatToDo: `vmkiln doctor`")),
        ("resourcegroupnotfound", ("whatToDo: `az group create`",)),
    ],
)
def test_a_field_or_a_code_is_explained(asked: str, told: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert vmkiln("explain", asked) == 0
    shown = capsys.readouterr().out
    for part in told:
        assert part in shown


def test_fields_are_explained_by_the_names_that_templates_have(capsys: pytest.CaptureFixture[str]) -> None:
    """They were Python's, `source_uri` for `sourceUri`, and so were those that editors showed."""
    assert vmkiln("explain", "customize") == 0
    assert "A File step: `sourceUri` is" in (shown := capsys.readouterr().out)
    assert "source_uri" not in shown + json.dumps(template_schema(NEWEST))


def test_what_is_neither_is_refused_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert vmkiln("explain", "properties.customise") == 2
    assert "did you mean `properties.customize`" in capsys.readouterr().err


@pytest.mark.parametrize("target", ["managed", "gallery", "vhd"])
def test_a_template_to_begin_with_has_no_mistake(
    target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VMKILN_HOME", str(tmp_path / "home"))
    file = tmp_path / "t.json"
    assert vmkiln("init", str(file), "--name", "web", "--inline", "true", "--target", target) == 0
    assert vmkiln("validate", str(file)) == 0, capsys.readouterr().err
    assert jsonschema_rs.validator_for(template_schema(NEWEST)).is_valid(json.loads(file.read_text()))
    assert vmkiln("init", str(file)) == 2
    assert vmkiln("init", str(tmp_path / "u.json"), "--platform-image", "Debian") == 2


def test_the_schema_is_written_to_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "schema.json"
    assert vmkiln("schema", "--api-version", "2024-02-01", "-o", str(file)) == 0
    assert json.loads(file.read_text()) == template_schema("2024-02-01")
    assert vmkiln("schema", "--api-version", "2001-01-01") == 2
    assert "error: --api-version: `2001-01-01` is not a known api-version" in capsys.readouterr().err


@pytest.mark.parametrize("api_version", API_VERSIONS)
def test_every_member_of_the_schema_is_explained(api_version: str) -> None:
    whole = template_schema(api_version)
    paths = set(member_paths(whole))
    assert len(paths) > 70
    for path in paths:
        member = members_at(whole, path)
        assert member is not None
        about = told_member(whole, member)["about"]
        assert about, path
        assert all(sentence.endswith((".", ")")) for sentence in about), path
    unexplained = [
        f"{name}.{member}"
        for name, part in (*whole["$defs"].items(), ("ImageTemplate", whole))
        for member, shape in part.get("properties", {}).items()
        if "description" not in shape
    ]
    assert unexplained == [], "say in member_words.toml what it is: editors show it"


def test_the_schema_takes_the_nought_that_stands_for_the_default() -> None:
    for api_version in API_VERSIONS:
        schema = jsonschema_rs.validator_for(template_schema(api_version))
        for minutes, is_taken in ((0, True), (5, False), (6, True)):
            body = {**example(), "apiVersion": api_version}
            body["properties"]["buildTimeoutInMinutes"] = minutes
            assert schema.is_valid(body) is is_taken, (api_version, minutes)


@pytest.mark.parametrize(
    ("member", "said", "unsaid"),
    [
        ("customize.updateLimit", f"There are at most {MOST_ROUNDS} such rounds", "at most;"),
        ("customize.restartCheckCommand", "exit code decides nothing", "succeeds"),
        ("customize.name", "such as `Shell 1`", ""),
        ("location", "staging resource group", "published"),
        ("distribute.targetRegions.replicaCount", "one when left out", "0 stands"),  # Azure's schema begins at 1
    ],
)
def test_words_say_what_is_done(member: str, said: str, unsaid: str) -> None:
    whole = template_schema(NEWEST)
    found = members_at(whole, member)
    assert found is not None
    about = " ".join(told_member(whole, found)["about"])
    assert said in about
    assert not unsaid or unsaid not in about


def test_there_are_no_words_for_what_no_template_has() -> None:
    members: dict[str, set[str]] = {}
    for api_version in API_VERSIONS:
        whole = template_schema(api_version)
        for name, part in (*whole["$defs"].items(), ("ImageTemplate", whole)):
            members.setdefault(name, set()).update(part.get("properties", {}))
    words = member_words()
    assert set(words[EVERY]) <= set().union(*members.values())
    for name, told in words.items():
        assert name == EVERY or set(told) <= members[name], name
