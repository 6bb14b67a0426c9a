"""Every command with `--json` prints one document, whatever it is given: its answer, or its error, by the contract."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from json_contract import CONTRACT, check, check_answer
from typer.main import get_command

from vmkiln.cli import main

COMMAND = get_command(main.app)
EXAMINES_FOR_MINUTES = {"prepare", "doctor", "storage install", "support-bundle"}
ENDS = (0, 1, 2, 3, 4, 130)


def commands(command: Any = COMMAND, above: str = "") -> Iterator[tuple[str, Any]]:
    """Every command that has `--json`, with its words."""
    if not hasattr(command, "list_commands"):
        if any("--json" in option.opts for option in command.params):
            yield above.strip(), command
        return
    context = COMMAND.make_context("vmkiln", [], resilient_parsing=True)
    for name in command.list_commands(context):
        yield from commands(command.get_command(context, name), f"{above} {name}")


def with_nothing(command: Any) -> list[str]:
    """Words for all that it requires: names of what is not there."""
    words = []
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            words.append("nothing")
        elif parameter.required:
            words += [parameter.opts[0], "nothing"]
    return words


def test_every_command_tells_every_error_in_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "user"))
    found: dict[str, int] = {}
    for number, (path, command) in enumerate(commands()):
        monkeypatch.setenv("VMKILN_HOME", str(tmp_path / f"home-{number}"))
        does_little = path not in EXAMINES_FOR_MINUTES
        for given in (["--no-such-option"], *([[], with_nothing(command)] if does_little else [])):
            monkeypatch.setattr("sys.stdin", io.StringIO(""))
            capfd.readouterr()
            with pytest.raises(SystemExit) as ended:
                main.main([*path.split(), *given, "--json"])
            code, said = int(ended.value.code or 0), capfd.readouterr()
            where = f"{path} {given}: {said.out[:300]} {said.err[:300]}"
            found[path] = max(found.get(path, 0), code)
            assert code in ENDS, where
            told = json.loads(said.out)
            if not code or (path, code, "valid" in told) == (
                "validate",
                2,
                True,
            ):  # which answers that a template is not valid
                check_answer(path, told)
                continue
            check(told, CONTRACT["$defs"]["error"])
            assert told["error"]["exitCode"] == code, where
            assert told["error"]["message"].splitlines()[0].strip() in said.err, where
            assert "Traceback" not in said.err, where
    assert len(found) > 75
    assert 0 not in found.values(), "each of them can be called wrongly"
