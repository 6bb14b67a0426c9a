"""What `--json` prints keeps to docs/reference/command-line.schema.json: answers, lines of a build, errors."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from json_contract import CONTRACT, check
from test_help import COMMAND, below
from test_tables import COMMANDS, MISTAKEN, REFUSED, of_words

from vmkiln.cli import main
from vmkiln.cli.view.live_view import JsonView
from vmkiln.packer.packer_output import Speaker
from vmkiln.run.run_event import LogLine, Notice, PhaseStarted, RunEnded, RunEvent, StepStarted
from vmkiln.run_state import Phase, RunState


def asked(capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[str, str, int]:
    """What a command prints on standard output and on standard error, and its exit code."""
    with pytest.raises(SystemExit) as ended:
        main.main(list(arguments))
    printed = capfd.readouterr()
    return printed.out, printed.err, int(ended.value.code or 0)


def command_of(words: tuple[str, ...]) -> str:
    return max((name for name in CONTRACT["commands"] if " ".join(words).startswith(name)), key=len)


def test_the_contract_has_commands_that_take_json_and_no_other() -> None:
    context = COMMAND.make_context("vmkiln", [], resilient_parsing=True)
    taking = set()
    for words in below(COMMAND):
        command: Any = COMMAND
        for word in words:
            command = command.get_command(context, word)
        if any("--json" in option.opts for option in command.params):
            taking.add(" ".join(words))
    assert set(CONTRACT["commands"]) == taking


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize("words", COMMANDS, ids=of_words)
def test_an_answer_keeps_to_the_contract(words: tuple[str, ...], capfd: pytest.CaptureFixture[str]) -> None:
    out, _, status = asked(capfd, *words, "--json")
    assert status == 0
    check(json.loads(out), CONTRACT["commands"][command_of(words)])


MISUSED = (("run", "list", "--bogus"), ("nonsense",))
TAKING_JSON = [words for words in REFUSED if words[0] != "role" and words[1] not in {"logs", "boot"}]


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize("words", [*TAKING_JSON, *MISUSED], ids=of_words)
def test_an_error_keeps_to_the_contract_too(words: tuple[str, ...], capfd: pytest.CaptureFixture[str]) -> None:
    out, err, status = asked(capfd, *words, "--json")
    found = json.loads(out)
    if words[0] == "validate":
        check(found, CONTRACT["commands"]["validate"])
    else:
        check(found, CONTRACT["$defs"]["error"])
        assert found["error"]["exitCode"] == status
        assert found["error"]["message"].partition("\n")[0] in err
    assert status == 2


def test_mistakes_of_a_template_are_told_one_by_one(capfd: pytest.CaptureFixture[str], home: Path) -> None:
    file = home.parent / "mistaken.json"
    file.write_text(json.dumps(MISTAKEN))
    out, _, status = asked(capfd, "build", str(file), "--json")
    found = json.loads(out)
    check(found, CONTRACT["$defs"]["error"])
    assert (status, found["error"]["code"]) == (2, "ValidationFailed")
    assert "properties.customize[1].type" in [item["path"] for item in found["error"]["details"]]


def test_each_line_of_a_build_keeps_to_the_contract(recorded: object, capfd: pytest.CaptureFixture[str]) -> None:
    summary = json.loads(asked(capfd, "run", "show", "--json")[0])
    moment = datetime(2026, 11, 28, 12, tzinfo=UTC)
    events: list[RunEvent] = [
        Notice("booting", is_warning=True),
        PhaseStarted(Phase.CUSTOMIZING, moment),
        StepStarted(Phase.CUSTOMIZING, 0, 2, "install"),
        LogLine(Phase.CUSTOMIZING, "a \udcff byte", Speaker.GUEST),
        RunEnded(RunState.SUCCEEDED, "", summary),
    ]
    lines: list[str] = []
    with JsonView(lines.append) as view:
        for event in events:
            view.tell(event)
    for line in lines[:-1]:
        check(json.loads(line), CONTRACT["$defs"]["event"])
    check(json.loads(lines[-1]), CONTRACT["commands"]["build"])
    assert json.loads(lines[1])["at"] == "2026-11-28T12:00:00.000Z"


def test_an_error_behind_an_answer_is_told_in_words_only(capfd: pytest.CaptureFixture[str], home: Path) -> None:
    file = home.parent / "mistaken.json"
    file.write_text(json.dumps(MISTAKEN))
    out, err, status = asked(capfd, "validate", str(file), "--json")
    assert len(out.splitlines()) == 1
    assert err.startswith("error: ")
    assert status == 2


@pytest.mark.parametrize(
    ("arguments", "is_asked"), [(["run", "--json"], True), (["run"], False), (["x", "--", "--json"], False)]
)
def test_json_is_asked_for_before_a_double_dash(arguments: list[str], is_asked: bool) -> None:
    assert main.wants_json(arguments) is is_asked


def test_a_command_that_is_ended_says_so_in_json(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def interrupted(json_: bool = main.typer.Option(False, "--json")) -> None:
        raise KeyboardInterrupt

    app = main.typer.Typer()
    app.command("wait")(interrupted)
    monkeypatch.setattr(main, "app", app)
    out, _, status = asked(capfd, "--json")
    check(json.loads(out), CONTRACT["$defs"]["error"])
    assert (status, json.loads(out)["error"]["code"]) == (130, "Canceled")
