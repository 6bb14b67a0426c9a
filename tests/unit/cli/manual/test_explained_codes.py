"""Every code that an error can have is explained, with what to do about it."""

import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from error_codes import PASSED_ON, Source
from json_contract import check_answer

from vmkiln.azure_names import NEWEST_API_VERSION
from vmkiln.cli.commands.templates.template_schema import member_paths, template_schema
from vmkiln.cli.lazy_group import loaded
from vmkiln.cli.main import Commands
from vmkiln.cli.manual.error_codes import FILE, error_codes, reference_page
from vmkiln.errors import ArmError, GroupNotFound, VmkilnError
from vmkiln.run_failures import RunFailed

ROOT = Path(__file__).parents[4]
CODE = re.compile(r"[A-Z][A-Za-z]{4,}(_[A-Z][A-Za-z]+)?|(invalid|unauthorized|unsupported)_[a-z_]+")
# words of other things than errors, under the same name
OTHERS = {"Code"}


def test_every_code_that_the_source_can_give_is_explained() -> None:
    given = {code for code in Source(ROOT / "vmkiln").codes() if CODE.fullmatch(code)} - OTHERS
    assert len(given) > 160
    assert {"ResourceNotFound", "SecurityRuleConflict", "ServerBusy", "BuildTimeout"} <= given, "it looks too little"
    assert sorted(given - {one.code for one in error_codes()}) == []


def test_a_code_that_nobody_explained_is_found(tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "new.py").write_text(
        'ODD = "OddThing"\n\n\ndef refused(code: str) -> ArmError:\n    return ArmError(409, code, "")\n\n\n'
        'raise refused(ODD if late else "LateThing")\n'
    )
    assert {"OddThing", "LateThing"} <= set(Source(tmp_path / "package").codes())
    (tmp_path / "package" / "new.py").write_text('raise ArmError(409, error.code, "")\n')
    assert set(Source(tmp_path / "package").codes()) == {PASSED_ON}


def test_no_code_is_explained_that_nothing_gives() -> None:
    source = "\n".join(path.read_text() for path in (ROOT / "vmkiln").rglob("*.py"))
    # two have an end that follows from what was asked for
    made = {"LocationNotAvailableForResourceGroup", "LocationNotAvailableForResourceType"}
    assert [one.code for one in error_codes() if f'"{one.code}"' not in source and one.code not in made] == []


def test_each_explanation_is_two_sentences_in_order() -> None:
    codes = [one.code for one in error_codes()]
    assert codes == sorted(set(codes), key=str.lower)
    for one in error_codes():
        for text in (one.about, one.cure):
            assert text == text.strip(), one.code
            assert text.endswith("."), one.code
            assert len(text) <= 120, one.code


def kinds_of_errors() -> Iterator[type[VmkilnError]]:
    """Every error of the package, whichever module it stands in."""
    for path in sorted((ROOT / "vmkiln").rglob("*.py")):
        if "Error" in (text := path.read_text()) and re.search(r"^class \w+\(\w*", text, re.MULTILINE):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            if not name.startswith("vmkiln.store.migrations"):
                import_module(name)
    kinds: list[type[VmkilnError]] = [VmkilnError]
    for kind in kinds:  # grows by those below each
        yield kind
        kinds += kind.__subclasses__()


def test_each_code_is_explained_with_the_exit_code_of_its_errors() -> None:
    """One of two was told, whichever: a run whose validation failed ended 1, and was said to end 2."""
    missing = ArmError(404, GroupNotFound.code, "")  # as the service answers it; the kind of ours ends a run
    refused: dict[str, set[int]] = {missing.code: {missing.exit_code}}
    failed: dict[str, set[int]] = {}
    for kind in kinds_of_errors():
        if kind is not ArmError:  # whose code and exit code come with what was answered
            of_a_run = issubclass(kind, RunFailed | GroupNotFound)
            (failed if of_a_run else refused).setdefault(kind.code, set()).add(kind.exit_code)
    assert [code for found in (refused, failed) for code, ends in found.items() if len(ends) > 1] == []
    assert len(refused | failed) > 40
    told = {one.code: one for one in error_codes() if one.exit_code is not None}
    assert told.pop("Aborted").exit_code == 1, "a question of ours"
    assert told.pop("BadUsage").exit_code == 2, "of the parser of command lines"
    assert sorted(told) == sorted(refused | failed)
    for code, one in told.items():
        [first], [last] = refused.get(code) or failed[code], failed.get(code) or refused[code]
        assert (one.exit_code, one.exit_code_of_run) == (first, last if last != first else None), code
        assert {first, last} <= {1, 2, 3, 4, 130}, "docs/json.md has them"


def test_both_exit_codes_are_told_where_a_run_ends_otherwise(capsys: pytest.CaptureFixture[str]) -> None:
    from vmkiln.cli.main import main

    with pytest.raises(SystemExit):
        main(["explain", "ValidationFailed"])
    assert "exitCode: 2\nexitCodeOfRun: 1\n" in capsys.readouterr().out


def test_no_field_has_the_name_of_a_code() -> None:
    """`explain` looks among the codes first."""
    fields = {path.lower() for path in member_paths(template_schema(NEWEST_API_VERSION))}
    shorter = {path.removeprefix("properties.") for path in fields}
    assert not {one.code.lower() for one in error_codes()} & (fields | shorter)


def test_what_to_do_names_commands_that_are_there() -> None:
    named = re.findall(r"`vmkiln ([a-z-]+)((?: [a-z-]+)*)", FILE.read_text())
    assert len(named) > 20
    for first, rest in named:
        assert first in Commands.listed, first
        group = Commands.listed[first]
        if group.name.endswith("app") and rest:
            below = loaded(first, group)
            assert rest.split()[0] in below.commands, (first, rest)


def test_the_page_of_the_documentation_is_what_explain_prints(capsys: pytest.CaptureFixture[str]) -> None:
    from vmkiln.cli.main import main

    with pytest.raises(SystemExit):
        main(["explain", "--codes"])
    assert capsys.readouterr().out == reference_page()
    kept = ROOT / "docs/reference/error-codes.md"
    assert kept.read_text() == reference_page(), f"vmkiln explain --codes > {kept.relative_to(ROOT)}"


def test_all_codes_are_told_in_json_by_the_contract(capsys: pytest.CaptureFixture[str]) -> None:
    import json

    from vmkiln.cli.main import main

    with pytest.raises(SystemExit):
        main(["explain", "--codes", "--json"])
    told = json.loads(capsys.readouterr().out)
    check_answer("explain", told)
    assert [one["code"] for one in told] == [one.code for one in error_codes()]
    assert next(one for one in told if one["code"] == "HostUnfit")["exitCode"] == 3
