"""A template is named by a word, or with `-n` as az has it."""

import pytest

from vmkiln.cli import main
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
