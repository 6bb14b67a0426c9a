"""What is kept of a command's options with its run, and what it is built again of."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from vmkiln.cli.commands.build_options import BuildOptions, OnError, as_fact, of_fact
from vmkiln.errors import InputError


def of(options: BuildOptions, *parameters: str, template: Path | None = None) -> BuildOptions:
    fact = json.loads(json.dumps(as_fact(options)))
    return of_fact(fact, run_id="0123abcd-rest", template=template, parameters=parameters)


def test_a_run_is_built_again_of_the_same_files_wherever_that_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.json").touch()
    asked = BuildOptions(
        template=Path("t.json"),
        parameters=["p.json", "@q.json"],
        references=["p.json", "/id={}"],
        egress=["@debian", "./names"],
        virtual_networks=[Path("n.json")],
        allow_egress=["10.0.0.0/8:443"],
        allow_local_files=True,
        no_cache=True,
        max_age=2,
        on_error=OnError.HOLD,
        hold_for=7,
    )
    whole = replace(
        asked,
        template=tmp_path / "t.json",
        parameters=[str(tmp_path / name) for name in ("p.json", "q.json")],
        references=[str(tmp_path / "p.json"), "/id={}"],
        egress=["@debian", str(tmp_path / "names")],
        virtual_networks=[tmp_path / "n.json"],
    )
    fact = as_fact(asked)
    monkeypatch.chdir(os.sep)
    assert of_fact(fact, run_id="r", template=None, parameters=()) == whole
    edited = of_fact(fact, run_id="r", template=Path("edited.json"), parameters=())
    assert edited.template == Path("edited.json")
    plain = BuildOptions(Path("/t.json"))
    assert of(plain) == replace(plain, parameters=[], references=[], egress=[], allow_egress=[], virtual_networks=[])


def test_no_value_of_a_command_line_is_kept_and_it_is_asked_for_again() -> None:
    asked = BuildOptions(Path("/t.json"), parameters=["password=planted=4711", "size=1"])
    assert "4711" not in json.dumps(as_fact(asked))
    with pytest.raises(InputError, match="`password`") as told:
        of(asked, "size=2")
    assert "--parameters password=" in str(told.value.hint)
    assert of(asked, "size=2", "password=new").parameters == ["size=2", "password=new"]
    assert of(asked, "all.json").parameters == ["all.json"], "a file may have all of them"


def test_no_key_of_a_command_line_is_kept_and_a_file_of_them_is_read_again() -> None:
    keys = 'listKeys(/subscriptions/s/a)={"keys": [{"value": "planted=4711"}]}'
    asked = BuildOptions(Path("/t.json"), references=[keys, "/id={}", "/keys.json"])
    fact = as_fact(asked)
    assert "4711" not in json.dumps(fact)
    assert fact["references"] == ["/id={}", "/keys.json"]
    with pytest.raises(InputError, match=r"listKeys\(/subscriptions/s/a\)") as told:
        of(asked)
    assert "--reference FILE" in str(told.value.hint)


def test_a_template_from_standard_input_has_to_be_given_again() -> None:
    with pytest.raises(InputError, match="standard input"):
        of(BuildOptions(Path("-")))
    assert of(BuildOptions(Path("-")), template=Path("t.json")).template == Path("t.json")
