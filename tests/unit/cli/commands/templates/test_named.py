"""A template is named by a word, or with `-n` as az has it."""

from pathlib import Path

import pytest

from vmkiln.cli import main
from vmkiln.cli.commands.templates.following import one_part
from vmkiln.cli.commands.templates.template import named
from vmkiln.errors import InputError


def test_a_template_is_named_once() -> None:
    assert named("web", "") == named("", "web") == named("web", "web") == "web"
    for word, option in (("", ""), ("web", "other")):
        with pytest.raises(InputError):
            named(word, option)


@pytest.mark.parametrize("words", [["show"], ["run"], ["logs"], ["cancel"], ["delete"], ["create"], ["create", "web"]])
def test_what_is_left_out_is_told(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main.main(["template", *words, "-g", "images"])
    assert ended.value.code == 2
    assert "error: no template" in capsys.readouterr().err


def test_the_only_word_beside_a_name_is_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main.main(["template", "create", "-n", "web", "-g", "images"])
    assert ended.value.code == 2
    assert "no template file is given" in capsys.readouterr().err


@pytest.mark.parametrize(
    "odd", ["..", ".", "../..", "a/b", "a?b", "a#b", "%2e%2e", "a\\b", "a\nb", "a b", "a\x1b[2J", "n" * 91]
)
@pytest.mark.parametrize("words", [["delete", "{}", "-g", "g"], ["delete", "web", "-g", "{}"], ["list", "-g", "{}"],
                                   ["run", "web", "-g", "g", "--subscription", "{}"]], ids=" ".join)  # fmt: skip
def test_a_name_leads_to_nothing_but_what_it_names(
    words: list[str], odd: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`template delete ../../.. -g images` asked the service to delete the whole resource group."""
    monkeypatch.setenv("VMKILN_HOME", str(tmp_path / "home"))
    with pytest.raises(SystemExit) as ended:
        main.main(["template", *(word.format(odd) for word in words)])
    told = capsys.readouterr().err
    assert ended.value.code == 2
    assert "is no name" in told
    assert told.isprintable() or told.replace("\n", "").isprintable(), "what it has for terminals stays out"
    assert not (tmp_path / "home").exists(), "nothing was started"


@pytest.mark.parametrize("name", ["web", "web-1.2_x", "größe", "(x)", ".x", "a..b"])
def test_names_of_azure_are_names(name: str) -> None:
    assert one_part(name, "it") == name


def test_an_empty_group_is_no_name(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main.main(["template", "delete", "web", "-g", ""])
    assert (ended.value.code, "--resource-group: `` is no name" in capsys.readouterr().err) == (2, True)
